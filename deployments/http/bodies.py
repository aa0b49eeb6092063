"""What clients may send: OpenAI's fields, and ours under `flashvideo`. An unknown field is an error that names it.

Bounds that hold for every checkpoint stand here; sizes and frames are the checkpoint's own (`fv_ray/sizes.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from fv_ray.prompts.enhancing import EnhancePrompt
from fv_ray.sizes import Seconds, Size
from fv_ray.types import Prompt, Seed


def _require_words(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("it is blank; describe the scene in a sentence or more")
    return prompt


Words = Annotated[Prompt, AfterValidator(_require_words)]
Steps = Annotated[int, Field(ge=1, le=1000, description="Evaluations of the transformer.")]
Guidance = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=16, le=16_384, description="Pixels, a multiple of 16.")]


class Body(BaseModel):
    """Refuses unknown fields and takes no value for another: true is no number, "7" is one only in a form."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StageOneChanges(Body):
    """Stage one's parameters where they are not the preset's."""

    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    height: Pixels | None = None
    width: Pixels | None = None


class StageTwoChanges(Body):
    """Stage two's parameters where they are not the preset's."""

    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    height: Pixels | None = None
    width: Pixels | None = None
    shift: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    noise_level: Annotated[int, Field(ge=0, lt=1000)] | None = None
    seed: Annotated[Seed | None, Field(description="Stage two's own; by default it follows from the seed.")] = None


EnhanceChoice = Annotated[
    EnhancePrompt | None,
    Field(description="auto (where there is an enhancer): rewrite a prompt that is shorter than a caption."),
]


class CreateExtras(Body):
    """FlashVideo's own parameters of a new video."""

    enhance_prompt: EnhanceChoice = None
    preset: Annotated[str | None, Field(max_length=64, description="Of the checkpoint; see /v1/models.")] = None
    seed: Seed | None = None
    num_frames: Annotated[int | None, Field(ge=1, le=100_000, description="1 + 4k; in place of seconds.")] = None
    stage_one: StageOneChanges = StageOneChanges()
    stage_two: StageTwoChanges = StageTwoChanges()


class RemixExtras(Body):
    """FlashVideo's own parameters of a remix."""

    enhance_prompt: EnhanceChoice = None
    seed: Seed | None = None


class CommitExtras(Body):
    """FlashVideo's own parameters of a commit."""

    stage_two: StageTwoChanges = StageTwoChanges()


class CreateBody(Body):
    """A video to make."""

    prompt: Annotated[Words, Field(description="Long and detailed: the model was trained on nothing else.")]
    model: Annotated[str, Field(max_length=128, description="flashvideo, or flashvideo-preview: stage one alone.")] = (
        "flashvideo"
    )
    seconds: Annotated[
        Seconds | Annotated[int, Field(ge=1, le=9999)] | None,
        Field(description="Of the clip, to a whole second; allowed values: see /v1/models."),
    ] = None
    size: Annotated[
        Size | None, Field(description="WIDTHxHEIGHT of the final video, also where a preview is made.")
    ] = None
    seed: Annotated[Seed | None, Field(description="Drawn at random, and told, where there is none.")] = None
    flashvideo: CreateExtras = CreateExtras()


class RemixBody(Body):
    """Another video with an edited prompt."""

    prompt: Words
    seed: Annotated[Seed | None, Field(description="By default that of the first video.")] = None
    flashvideo: RemixExtras = RemixExtras()


class CommitBody(Body):
    """The video of a preview."""

    prompt: Annotated[Words | None, Field(description="Of stage two alone; by default the preview's.")] = None
    seed: Annotated[Seed | None, Field(description="Stage two's.")] = None
    flashvideo: CommitExtras = CommitExtras()


class EnhanceBody(Body):
    """A prompt to enhance."""

    prompt: Words
    seed: Annotated[Seed, Field(description="Of what the enhancer chooses; a new video's is its own seed.")] = 0
    enhance_prompt: Annotated[
        Literal["auto", "always"], Field(description="auto leaves a prompt alone that is as long as a caption.")
    ] = "auto"


class ListQuery(Body):
    """Which videos are listed."""

    model_config = ConfigDict(strict=False)

    after: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """The last video of the page before."""
    limit: Annotated[int, Field(ge=0, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    """By creation."""
