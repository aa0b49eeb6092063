"""What a person says of size and length to what the stages make: `1920x1072`, `6` -> pixels and frames.

Both belong to the checkpoint. What it cannot make is refused with what is nearest; nothing is rounded in silence.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import StringConstraints

from fv_ray.checkpoint import FRAMES_PER_LATENT, PIXELS_PER_TOKEN, CheckpointInfo, Preset, SizeLimits
from fv_ray.errors import SizeRefused

Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]
Seconds = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}$")]


@dataclass(frozen=True)
class PixelSize:
    """Of a clip."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Sides:
    """Of a clip, where they are said."""

    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Asked:
    """What is said of a clip, in OpenAI's words and in ours."""

    size: Size | None = None
    """Of the video."""
    seconds: Seconds | None = None
    num_frames: int | None = None
    stage_one: Sides = Sides()
    stage_two: Sides = Sides()
    place: str = ""
    """Of our words in what is asked, with its dot: messages name them so."""


@dataclass(frozen=True)
class Clip:
    """What is to be made."""

    preview: PixelSize
    video: PixelSize
    num_frames: int

    def changes(self) -> dict[str, dict[str, Any]]:
        """As changes of a preset, by stage."""
        return {"stage_one": asdict(self.preview) | {"num_frames": self.num_frames}, "stage_two": asdict(self.video)}


def asked_clip(asked: Asked, preset: Preset, checkpoint: CheckpointInfo) -> Clip:
    """The clip that is asked for: the preview in the preset's ratio to the video, unless its size is said.

    Raises:
        SizeRefused: something is said twice, or cannot be made.
    """
    video = _video_size(asked, preset, checkpoint.stage_two_limits)
    preview = _preview_size(video, asked, preset, checkpoint.stage_one_limits)
    return Clip(preview, video, _num_frames(asked, preset, checkpoint))


def changed_size(before: PixelSize, changes: Sides, limits: SizeLimits, param: str) -> PixelSize:
    """A video's size, where it may differ from what was asked for with the preview.

    Raises:
        SizeRefused: it cannot be made.
    """
    width, height = changes.width, changes.height
    size = PixelSize(before.width if width is None else width, before.height if height is None else height)
    _require_possible(size, limits, param)
    return size


def frames_by_seconds(checkpoint: CheckpointInfo) -> dict[str, int]:
    """Every length in whole seconds that the checkpoint makes, with the frames, 1 + 4k, that are nearest to it."""
    possible = range(1, checkpoint.max_frames + 1, FRAMES_PER_LATENT)
    nearest = {
        seconds: min(possible, key=lambda frames: (abs(frames - seconds * checkpoint.fps), -frames))
        for seconds in range(1, checkpoint.max_frames // checkpoint.fps + 1)
    }
    told = {str(seconds): frames for seconds, frames in nearest.items()}
    return {seconds: frames for seconds, frames in told.items() if told_seconds(frames, checkpoint.fps) == seconds}


def told_seconds(frames: int, fps: int) -> str:
    """A clip's length as a video object has it: to the nearest whole second."""
    return str(int(frames / fps + 0.5))


def _video_size(asked: Asked, preset: Preset, limits: SizeLimits) -> PixelSize:
    ours, usual = f"{asked.place}stage_two", PixelSize(preset.stage_two.width, preset.stage_two.height)
    if asked.size is None:
        return changed_size(usual, asked.stage_two, limits, ours)
    if asked.stage_two != Sides():
        raise _twice("size", f"{ours}.width and height")
    width, height = asked.size.split("x")
    return changed_size(PixelSize(int(width), int(height)), Sides(), limits, "size")


def _preview_size(video: PixelSize, asked: Asked, preset: Preset, limits: SizeLimits) -> PixelSize:
    one, two = preset.stage_one, preset.stage_two
    is_turned = (video.width > video.height) != (two.width > two.height) and video.width != video.height
    x_ratio, y_ratio = one.width / two.width, one.height / two.height
    if is_turned:
        x_ratio, y_ratio = y_ratio, x_ratio
    followed = PixelSize(
        _to_grid(video.width * x_ratio, limits.max_width), _to_grid(video.height * y_ratio, limits.max_height)
    )
    return changed_size(followed, asked.stage_one, limits, f"{asked.place}stage_one")


def _num_frames(asked: Asked, preset: Preset, checkpoint: CheckpointInfo) -> int:
    ours = f"{asked.place}num_frames"
    if asked.seconds is None:
        wanted = preset.stage_one.num_frames if asked.num_frames is None else asked.num_frames
        return _checked_frames(wanted, checkpoint, ours)
    if asked.num_frames is not None:
        raise _twice("seconds", ours)
    allowed = frames_by_seconds(checkpoint)
    if (frames := allowed.get(asked.seconds)) is None:
        message = f"seconds is {asked.seconds!r}; this checkpoint makes {', '.join(allowed)}; use one of them"
        raise SizeRefused(message, code="invalid_value", param="seconds")
    return frames


def _checked_frames(frames: int, checkpoint: CheckpointInfo, param: str) -> int:
    longest = (checkpoint.max_frames - 1) // FRAMES_PER_LATENT
    nearest = 1 + FRAMES_PER_LATENT * min(max(round((frames - 1) / FRAMES_PER_LATENT), 0), longest)
    if nearest != frames:
        message = f"num_frames is {frames}; allowed are 1 + 4k up to {checkpoint.max_frames}; use {nearest}"
        raise SizeRefused(message, code="invalid_value", param=param)
    return frames


def _require_possible(size: PixelSize, limits: SizeLimits, param: str) -> None:
    nearest = PixelSize(_to_grid(size.width, limits.max_width), _to_grid(size.height, limits.max_height))
    if nearest != size:
        message = (
            f"{param} is {size}; allowed are multiples of {PIXELS_PER_TOKEN} up to "
            f"{limits.max_width}x{limits.max_height}; the nearest is {nearest}: use it"
        )
        raise SizeRefused(message, code="invalid_size", param=param)


def _to_grid(side: float, largest: int) -> int:
    nearest = math.ceil(side / PIXELS_PER_TOKEN - 0.5)  # 1080 to 1072, as the released scripts floor it
    return PIXELS_PER_TOKEN * min(max(nearest, 1), largest // PIXELS_PER_TOKEN)


def _twice(one: str, other: str) -> SizeRefused:
    return SizeRefused(f"{one} and {other} say the same; give one of them", code="invalid_value", param=one)
