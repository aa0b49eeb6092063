"""A video file to clips of one length, rate and size, and to reasons why others were not taken.

What is on the screen at 0, 1/fps, 2/fps ... seconds is taken, by the file's timestamps, so a variable frame rate plays
at its true speed. Pictures are turned as the file says, scaled to cover the wanted size and cropped around the centre.
Knows nothing of captions, tables and Ray.
"""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal

import av
import numpy as np
from av.video.reformatter import Interpolation
from PIL import Image

from fv_ray.errors import InputError
from fv_ray.video_io import Encoding

Code = Literal["unreadable", "no_video", "no_frames", "too_short", "damaged", "black", "still"]

TIME_TOLERANCE_S = Fraction(1, 500)
"""Matroska and WebM round times to 1 ms, and so the difference of two of them by up to 1 ms."""
MAX_HOLD_S = 600
"""A picture that stays longer is a broken timestamp, which would be copied for days."""
MIN_SHARE_OF_FRAMES = 0.9
"""Of those that the file declares; edit lists hide a few, a file that was cut short lacks many."""
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
"""ffmpeg's names. Playlists are left out: they open other files and addresses."""
DECODE_ERRORS = (av.FFmpegError, ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, ValueError)
"""What a broken file raises in PyAV, numpy and the file systems."""


@dataclass(frozen=True)
class ClipRecipe:
    """All that decides which clips are cut from a file.

    Raises:
        InputError: a value is not allowed.
    """

    num_frames: int = 17
    """Of each clip."""
    fps: int = 8
    height: int = 128
    """Pixels, even."""
    width: int = 192
    """Pixels, even."""
    max_clips_per_file: int = 64
    """Good ones; the rest of the file is not read."""
    min_mean_luma: float = 10
    """0 to 255, over the whole clip; below, it is black."""
    min_motion: float = 0.05
    """Mean absolute difference of luma between neighbouring frames, 0 to 255; below, the clip is still. 0 takes all."""
    crf: int = 5
    """x264's rate factor of what is stored; 5 is nearly without loss."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "fps", "height", "width", "max_clips_per_file"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; allowed are whole numbers from 1: give such")
        if self.height % 2 or self.width % 2:
            raise InputError(
                f"the clips are {self.height} x {self.width} pixels; mp4 allows even sides: give such, as 128 x 192"
            )
        Encoding(self.crf)  # refuses what x264 cannot do
        for name in ("min_mean_luma", "min_motion"):
            if not 0 <= getattr(self, name) <= 255:
                raise InputError(f"{name} is {getattr(self, name)}; allowed are 0 (takes all) to 255: give such")


@dataclass(frozen=True)
class Clip:
    """What is on the screen from `start_s` on."""

    start_s: float
    frames_FHWC: np.ndarray
    """uint8 RGB."""


@dataclass(frozen=True)
class Reject:
    """A clip that was not taken; where `start_s` is 0 and it is the only one, the file."""

    start_s: float
    code: Code
    reason: str


@dataclass(frozen=True)
class _Picture:
    frame_HWC: np.ndarray
    is_damaged: bool


class _Flaw(Exception):
    """Why reading ends before the file does."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code: Code = code


def decode_clips(file: str | Path | BinaryIO, recipe: ClipRecipe) -> Iterator[Clip | Reject]:
    """Cut a video file to consecutive clips, one in memory at a time; a broken file is a Reject, not an exception.

    What is left at the end, shorter than a clip, is told only where the file gave no clip at all.

    Args:
        file: a path, or a binary file that can seek.
        recipe: what to cut.
    """
    pending: list[_Picture] = []
    num_cut = num_good = 0
    flaw: Reject | None = None
    pictures = _pictures(file, recipe)
    while num_good < recipe.max_clips_per_file:
        try:
            picture = next(pictures, None)
        except _Flaw as error:
            flaw = Reject(_start_s(num_cut, recipe), error.code, str(error))
            break
        except DECODE_ERRORS as error:
            code: Code = "damaged" if num_cut or pending else "unreadable"
            flaw = Reject(_start_s(num_cut, recipe), code, f"{type(error).__name__}: {error}")
            break
        if picture is None:
            break
        pending.append(picture)
        if len(pending) == recipe.num_frames:
            result = _judged(_start_s(num_cut, recipe), pending, recipe)
            num_good += isinstance(result, Clip)
            num_cut, pending = num_cut + 1, []
            yield result
    pictures.close()
    if flaw is None and not num_cut:
        flaw = _without_a_clip(len(pending), recipe)
    if flaw is not None:
        yield flaw


def _start_s(num_cut: int, recipe: ClipRecipe) -> float:
    return num_cut * recipe.num_frames / recipe.fps


def _without_a_clip(num_pictures: int, recipe: ClipRecipe) -> Reject:
    if not num_pictures:
        return Reject(0.0, "no_frames", "the video stream holds no frames")
    return Reject(0.0, "too_short", f"{num_pictures} frames at {recipe.fps} a second, a clip takes {recipe.num_frames}")


def _judged(start_s: float, pictures: list[_Picture], recipe: ClipRecipe) -> Clip | Reject:
    if any(picture.is_damaged for picture in pictures):
        return Reject(start_s, "damaged", "the decoder filled in what it could not read")
    lumas = [np.asarray(Image.fromarray(picture.frame_HWC).convert("L"), np.int16) for picture in pictures]
    mean_luma = float(np.mean([luma.mean() for luma in lumas]))
    if mean_luma < recipe.min_mean_luma:
        return Reject(start_s, "black", f"mean luma {mean_luma:.1f}, at least {recipe.min_mean_luma:g} is asked for")
    steps = [np.abs(after - before).mean() for before, after in pairwise(lumas)]
    motion = float(np.mean(steps)) if steps else math.inf  # a single picture is meant to be still
    if motion < recipe.min_motion:
        return Reject(start_s, "still", f"frames differ by {motion:.3f}, at least {recipe.min_motion:g} is asked for")
    return Clip(start_s, np.stack([picture.frame_HWC for picture in pictures]))


def _pictures(file: str | Path | BinaryIO, recipe: ClipRecipe) -> Generator[_Picture, None, None]:
    """What is on the screen at 0, 1/fps, 2/fps ... seconds after the first frame; each frame is converted once at most.

    Raises:
        _Flaw: there is no video, or it cannot be read to its end.
    """
    source = str(file) if isinstance(file, str | Path) else file
    options = {"format_whitelist": CONTAINERS}
    with av.open(source, options=options, metadata_errors="replace") as container:
        if not container.streams.video:
            raise _Flaw("no_video", "the file holds no video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # a task reserves one CPU
        num_decoded = num_taken = 0
        shown: tuple[Fraction, av.VideoFrame] | None = None
        for at_s, frame in _timed(container, stream):
            if shown is not None:
                num_new = _num_until(at_s, recipe.fps) - num_taken
                yield from _repeated(shown[1], num_new, stream, recipe)
                num_taken += max(0, num_new)
                if at_s - shown[0] > MAX_HOLD_S:
                    raise _Flaw("damaged", f"the next frame comes {float(at_s - shown[0]):.0f} seconds later")
            shown, num_decoded = (at_s, frame), num_decoded + 1
        if shown is not None:
            end_s = shown[0] + _duration_s(shown[1], stream)
            yield from _repeated(shown[1], _num_until(end_s, recipe.fps) - num_taken, stream, recipe)
        if num_decoded < MIN_SHARE_OF_FRAMES * stream.frames:
            raise _Flaw("damaged", f"the file holds {num_decoded} of the {stream.frames} frames that it declares")


def _timed(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """The frames in the order of showing, with exact seconds since the first."""
    first_s: Fraction | None = None
    next_s = Fraction(0)
    for frame in container.decode(stream):
        if frame.pts is None or frame.time_base is None:
            at_s = next_s
        else:
            stamp_s = frame.pts * frame.time_base
            first_s = stamp_s if first_s is None else first_s
            at_s = stamp_s - first_s
        next_s = at_s + _duration_s(frame, stream)
        yield at_s, frame


def _duration_s(frame: av.VideoFrame, stream: av.VideoStream) -> Fraction:
    if frame.duration and frame.time_base:
        return Fraction(frame.duration * frame.time_base)
    rate = stream.average_rate or stream.guessed_rate
    return 1 / Fraction(rate) if rate else Fraction(1, 25)


def _num_until(at_s: Fraction, fps: int) -> int:
    """How many of the moments 0, 1/fps, 2/fps ... lie before `at_s`."""
    return max(0, math.ceil((at_s - TIME_TOLERANCE_S) * fps))


def _repeated(frame: av.VideoFrame, num_times: int, stream: av.VideoStream, recipe: ClipRecipe) -> Iterator[_Picture]:
    if num_times > 0:
        picture = _Picture(_fit(frame, stream.sample_aspect_ratio, recipe), bool(frame.is_corrupt))
        yield from (picture for _ in range(min(num_times, MAX_HOLD_S * recipe.fps)))


def _fit(frame: av.VideoFrame, pixel_aspect: Fraction | None, recipe: ClipRecipe) -> np.ndarray:
    """A frame as RGB of the wanted size: turned upright, scaled to cover it, cropped around the centre."""
    quarter_turns = round(frame.rotation / 90) % 4
    height, width = (recipe.width, recipe.height) if quarter_turns % 2 else (recipe.height, recipe.width)
    shown_width = frame.width * Fraction(pixel_aspect or 1)
    scale = max(Fraction(height, frame.height), width / shown_width)
    covering = frame.reformat(
        max(width, round(shown_width * scale)),
        max(height, round(frame.height * scale)),
        format="rgb24",
        interpolation=(Interpolation.AREA if scale < 1 else Interpolation.BICUBIC)
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT,
    ).to_ndarray()
    top, left = (covering.shape[0] - height) // 2, (covering.shape[1] - width) // 2
    return np.ascontiguousarray(np.rot90(covering[top : top + height, left : left + width], quarter_turns))
