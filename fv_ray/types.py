"""The values that flow: `VideoRequest -> Preview -> Video`, all frozen.

Knows pydantic, and numpy by name; importing it never imports torch or numpy, so an HTTP front end can use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

if TYPE_CHECKING:
    import numpy as np

MAX_SEED = 2**63 - 1
MAX_PROMPT_CHARACTERS = 32_000  # the limit of OpenAI's video endpoint

Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]


class Value(BaseModel):
    """A frozen model that refuses unknown fields: what stands at every door."""

    # Built when first used: most processes that import this validate few of the models, or none.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class StageOneSampling(Value):
    """How stage one generates a preview."""

    num_inference_steps: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """Evaluations of the transformer; a guidance pair counts as one."""
    guidance_scale: Annotated[Finite, Field(ge=0, le=100)]
    """Scale of the dynamic classifier-free guidance, whose weight moves between 1 and 1 + scale."""
    num_frames: Annotated[int, Field(strict=True, ge=1)]
    """Frames of the clip, 1 + 4k."""
    height: Annotated[int, Field(strict=True, ge=1)]
    """Pixels, a multiple of 16."""
    width: Annotated[int, Field(strict=True, ge=1)]
    """Pixels, a multiple of 16."""
    prompt_prefix: str = ""
    """Put before the prompt as it stands, with no space of its own."""


class StageTwoSampling(Value):
    """How stage two refines a preview to a video."""

    num_inference_steps: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """Evaluations of the transformer; a guidance pair counts as one."""
    guidance_scale: Annotated[Finite, Field(ge=0, le=100)]
    """Weight of classifier-free guidance on the velocity; 1 is off."""
    height: Annotated[int, Field(strict=True, ge=1)]
    """Pixels, a multiple of 16."""
    width: Annotated[int, Field(strict=True, ge=1)]
    """Pixels, a multiple of 16."""
    shift: Annotated[Finite, Field(gt=0, le=100)]
    """Time shift s in sigma' = s sigma / (1 + (s - 1) sigma); 1 is none."""
    noise_level: Annotated[int, Field(strict=True, ge=0, lt=1000)]
    """Index of the latent degradation that the flow starts from."""
    grid_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the time grid. The released scripts compute it in bfloat16, which moves its points."""
    decode_slices: Literal[1, 2] = 1
    """2 decodes the width in two slices, as the released scripts do."""
    prompt_prefix: str = ""
    """Put before the prompt as it stands, with no space of its own."""
    seed: Seed | None = None
    """Seed of stage two alone; None derives it from the request's."""


class VideoRequest(Value):
    """All that decides a video: the same request on the same checkpoint gives the same video."""

    prompt: Prompt
    seed: Seed
    stage_one: StageOneSampling
    stage_two: StageTwoSampling

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("the prompt is empty; describe the scene in a sentence or more")
        if "\x00" in prompt:
            raise ValueError("the prompt holds a NUL character; remove it")
        return prompt

    @property
    def stage_two_seed(self) -> int:
        """Stage two's own seed.

        Unless one is given, the first 63 bits of SHA-256 over `fv-ray/stage_two/SEED`: a commit made hours later on
        another node draws the same noise as a run in one go.
        """
        if self.stage_two.seed is not None:
            return self.stage_two.seed
        digest = hashlib.sha256(f"fv-ray/stage_two/{self.seed}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, eq=False)
class Preview:
    """Stage one's result: latents that stage two decodes itself, never the 8-bit pictures shown to people."""

    request: VideoRequest
    """The request that made it."""
    latents_FCHW: np.ndarray
    """float32, (1 + (num_frames - 1) / 4, 16, height / 8, width / 8), multiplied by `latents_scaling_factor`."""
    latents_scaling_factor: float
    checkpoint_digest: str
    fps: int


@dataclass(frozen=True, eq=False)
class Video:
    """Stage two's result, decoded."""

    request: VideoRequest
    frames_FHWC: np.ndarray
    """uint8, 0..255, RGB."""
    fps: int


@dataclass(frozen=True)
class Progress:
    """One step of one phase, told to a caller's callback; raise from the callback to cancel."""

    phase: str
    step: int
    """Steps done, 0 when the phase starts."""
    num_steps: int
    seconds: float
    """Since the phase started."""

    @property
    def is_done(self) -> bool:
        """Whether the phase has ended."""
        return self.step == self.num_steps


OnProgress = Callable[[Progress], None]


def with_prompt(request: VideoRequest, prompt: str) -> VideoRequest:
    """The same request with another prompt, validated again."""
    return VideoRequest.model_validate({**request.model_dump(), "prompt": prompt})
