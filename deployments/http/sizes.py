"""What a client says of size and length to what the stages make: `1920x1072`, `6` -> pixels and frames.

Both belong to the checkpoint. What it cannot make is refused with what is nearest; nothing is rounded in silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deployments.http.bodies import CreateBody, StageTwoChanges
from deployments.http.errors import ApiError
from fv_ray.checkpoint import FRAMES_PER_LATENT, PIXELS_PER_TOKEN, CheckpointInfo, Preset, SizeLimits


@dataclass(frozen=True)
class PixelSize:
    """Of a clip."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def video_size(body: CreateBody, preset: Preset, limits: SizeLimits) -> PixelSize:
    """The final video's.

    Raises:
        ApiError: it is said twice, or cannot be made.
    """
    changes = body.flashvideo.stage_two
    if body.size is None:
        size = PixelSize(changes.width or preset.stage_two.width, changes.height or preset.stage_two.height)
        param = "flashvideo.stage_two"
    else:
        size, param = _parse(body.size), "size"
        if changes.width is not None or changes.height is not None:
            raise _twice("size", "flashvideo.stage_two.width and height")
    require_possible(size, limits, param)
    return size


def changed_size(before: PixelSize, changes: StageTwoChanges, limits: SizeLimits) -> PixelSize:
    """The final video's, where it may differ from what was asked for with the preview.

    Raises:
        ApiError: it cannot be made.
    """
    size = PixelSize(changes.width or before.width, changes.height or before.height)
    require_possible(size, limits, "flashvideo.stage_two")
    return size


def preview_size(video: PixelSize, body: CreateBody, preset: Preset, limits: SizeLimits) -> PixelSize:
    """The preview's: in the preset's ratio to the video, unless it is given.

    Raises:
        ApiError: it cannot be made.
    """
    one, two = preset.stage_one, preset.stage_two
    is_turned = (video.width > video.height) != (two.width > two.height) and video.width != video.height
    x_ratio, y_ratio = one.width / two.width, one.height / two.height
    if is_turned:
        x_ratio, y_ratio = y_ratio, x_ratio
    changes = body.flashvideo.stage_one
    size = PixelSize(
        changes.width or _to_grid(video.width * x_ratio, limits.max_width),
        changes.height or _to_grid(video.height * y_ratio, limits.max_height),
    )
    require_possible(size, limits, "flashvideo.stage_one")
    return size


def num_frames(body: CreateBody, preset: Preset, checkpoint: CheckpointInfo) -> int:
    """The clip's, of the seconds or the frames that are asked for.

    Raises:
        ApiError: both are given, or it cannot be made.
    """
    if body.seconds is None:
        return _checked_frames(body.flashvideo.num_frames or preset.stage_one.num_frames, checkpoint)
    if body.flashvideo.num_frames is not None:
        raise _twice("seconds", "flashvideo.num_frames")
    allowed = frames_by_seconds(checkpoint)
    if (frames := allowed.get(str(body.seconds))) is None:
        message = f"seconds is {str(body.seconds)!r}; this checkpoint makes {', '.join(allowed)}; use one of them"
        raise ApiError(400, "invalid_value", message, param="seconds")
    return frames


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


def require_possible(size: PixelSize, limits: SizeLimits, param: str) -> None:
    """Refuse a size that is not on the grid or too large.

    Raises:
        ApiError: naming the nearest one.
    """
    nearest = PixelSize(_to_grid(size.width, limits.max_width), _to_grid(size.height, limits.max_height))
    if nearest != size:
        message = (
            f"{param} is {size}; allowed are multiples of {PIXELS_PER_TOKEN} up to "
            f"{limits.max_width}x{limits.max_height}; the nearest is {nearest}: use it"
        )
        raise ApiError(400, "invalid_size", message, param=param)


def _checked_frames(frames: int, checkpoint: CheckpointInfo) -> int:
    longest = (checkpoint.max_frames - 1) // FRAMES_PER_LATENT
    nearest = 1 + FRAMES_PER_LATENT * min(max(round((frames - 1) / FRAMES_PER_LATENT), 0), longest)
    if nearest != frames:
        message = f"num_frames is {frames}; allowed are 1 + 4k up to {checkpoint.max_frames}; use {nearest}"
        raise ApiError(400, "invalid_value", message, param="flashvideo.num_frames")
    return frames


def _to_grid(side: float, largest: int) -> int:
    nearest = math.ceil(side / PIXELS_PER_TOKEN - 0.5)  # 1080 to 1072, as the released scripts floor it
    return PIXELS_PER_TOKEN * min(max(nearest, 1), largest // PIXELS_PER_TOKEN)


def _parse(size: str) -> PixelSize:
    width, height = size.split("x")
    return PixelSize(int(width), int(height))


def _twice(one: str, other: str) -> ApiError:
    return ApiError(400, "invalid_value", f"{one} and {other} say the same; give one of them", param=one)
