"""What a checkpoint folder says of itself: its sampling defaults, allowed sizes and digest.

Reads `model_index.json` alone, so that a front end without torch can check a request against a checkpoint.

    FOLDER/model_index.json            diffusers' component table; under "fv_ray" the `CheckpointInfo`
           tokenizer/ text_encoder/    may be missing: then only prompt embeddings can be generated from
           stage_one_transformer/ stage_two_transformer/ vae/
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from fv_ray.errors import CheckpointError, InputError
from fv_ray.types import StageOneSampling, StageTwoSampling, Value, VideoRequest

INDEX_FILE = "model_index.json"
TEXT_ENCODER_FOLDER = "text_encoder"
DEFAULT_MODEL = Path(__file__).parent / "default_model"
"""The checkpoint that comes with the package: small, trained on the procedural world, at home on a CPU."""
PIXELS_PER_TOKEN = 16  # VAE 8 x patch 2
FRAMES_PER_LATENT = 4


Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=PIXELS_PER_TOKEN)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SizeLimits(Value):
    """The largest clip that a stage of this checkpoint makes."""

    max_height: Side
    """Pixels."""
    max_width: Side
    """Pixels."""


class Preset(Value):
    """Complete sampling parameters under a name."""

    stage_one: StageOneSampling
    stage_two: StageTwoSampling


class CheckpointInfo(Value):
    """A checkpoint's own words."""

    format_version: Literal[1] = 1
    name: Annotated[str, StringConstraints(min_length=1)]
    digest: str
    """SHA-256 over all that decides numbers: weights, tokenizer, configurations, scaling factors, text window."""
    fps: Count
    max_prompt_tokens: Count
    """The text encoder's window."""
    stage_one_scaling_factor: Factor
    """Stage one's latents = VAE latents x this."""
    stage_two_scaling_factor: Factor
    """Stage two's latents = VAE latents x this."""
    max_frames: Count
    stage_one_limits: SizeLimits
    stage_two_limits: SizeLimits
    default_preset: str
    presets: dict[str, Preset]

    @model_validator(mode="after")
    def _default_is_there(self) -> Self:
        if self.default_preset not in self.presets:
            raise ValueError(f"default_preset is {self.default_preset!r}; it must be one of {', '.join(self.presets)}")
        return self

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read a checkpoint folder's `model_index.json`.

        Raises:
            CheckpointError: naming what is missing or wrong.
        """
        index = Path(folder) / INDEX_FILE
        try:
            document = json.loads(index.read_text("utf-8"))
            if not isinstance(document, dict) or "fv_ray" not in document:
                raise CheckpointError(
                    f"{index} is of another pipeline (it has no 'fv_ray' entry); "
                    "give a folder that `fv-ray convert` wrote"
                )
            return cls.model_validate(document["fv_ray"])
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder} is no checkpoint: {index} does not exist; give a folder that `fv-ray convert` wrote"
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{index} cannot be read ({error}); convert the weights again") from error
        except ValidationError as error:
            raise CheckpointError(f"{index} is not understood: {explain(error)}; convert the weights again") from error

    def request(
        self,
        prompt: str,
        *,
        seed: int,
        preset: str | None = None,
        stage_one: Mapping[str, Any] | None = None,
        stage_two: Mapping[str, Any] | None = None,
    ) -> VideoRequest:
        """A complete request: a preset's parameters with those of `stage_one` and `stage_two` put over them.

        Raises:
            InputError: for a value that is not allowed, naming it and what is.
        """
        base = self.preset(preset).model_dump()
        try:
            request = VideoRequest.model_validate(
                {
                    "prompt": prompt,
                    "seed": seed,
                    "stage_one": base["stage_one"] | dict(stage_one or {}),
                    "stage_two": base["stage_two"] | dict(stage_two or {}),
                }
            )
        except ValidationError as error:
            raise InputError(explain(error)) from error
        self.check(request)
        return request

    def preset(self, name: str | None) -> Preset:
        """Of a name, or the default one.

        Raises:
            InputError: there is none of that name.
        """
        name = self.default_preset if name is None else name
        if name not in self.presets:
            raise InputError(f"there is no preset {shortened(name)}; this checkpoint has {', '.join(self.presets)}")
        return self.presets[name]

    def check(self, request: VideoRequest) -> None:
        """Refuse a request whose sizes this checkpoint cannot make.

        Raises:
            InputError: naming the nearest sizes that it can.
        """
        _check_frames(request.stage_one.num_frames, self.max_frames)
        _check_size("stage one", request.stage_one, self.stage_one_limits)
        _check_size("stage two", request.stage_two, self.stage_two_limits)


def explain(error: ValidationError) -> str:
    """A validation error in one line: each field with its value and what is allowed."""
    return "; ".join(
        f"{'.'.join(map(str, issue['loc'])) or 'value'} is {shortened(issue['input'])}: {issue['msg']}"
        for issue in error.errors(include_url=False)
    )


def shortened(value: object, max_characters: int = 60) -> str:
    """A value for a message: its beginning, control characters escaped."""
    text = repr(value)
    return text if len(text) <= max_characters else f"{text[:max_characters]}... ({len(str(value))} characters)"


def _check_frames(num_frames: int, max_frames: int) -> None:
    nearest = _nearest(num_frames - 1, FRAMES_PER_LATENT, 0, max_frames - 1)
    if num_frames - 1 not in nearest:
        options = " or ".join(str(1 + n) for n in nearest)
        raise InputError(f"num_frames is {num_frames}; allowed are 1 + 4k up to {max_frames}: use {options}")


def _check_size(stage: str, sampling: StageOneSampling | StageTwoSampling, limits: SizeLimits) -> None:
    for side, value, largest in (
        ("height", sampling.height, limits.max_height),
        ("width", sampling.width, limits.max_width),
    ):
        nearest = _nearest(value, PIXELS_PER_TOKEN, PIXELS_PER_TOKEN, largest)
        if value not in nearest:
            options = " or ".join(map(str, nearest))
            raise InputError(
                f"{side} of {stage} is {value}; allowed are multiples of {PIXELS_PER_TOKEN} up to {largest}: "
                f"use {options}"
            )


def _nearest(value: int, step: int, smallest: int, largest: int) -> list[int]:
    """The allowed values around `value`, one or two; `value` alone where it is allowed."""
    below = min(max(value // step * step, smallest), largest // step * step)
    above = min(max(-(-value // step) * step, smallest), largest // step * step)
    return sorted({below, above})
