"""Clips from real files: the right frames at the right times, and a reason for every other file."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fv_ray.errors import InputError
from fv_ray.training.clips import Clip, ClipRecipe, Reject, decode_clips
from fv_ray.video_io import encode_mp4, read_frames

RECIPE = ClipRecipe(num_frames=4, fps=8, height=16, width=24)
SIZE = (32, 48)


def grey(number: int) -> int:
    return 20 + 10 * number


def numbers(clip: Clip | Reject) -> list[int]:
    """Which frames a clip shows, read back from their grey."""
    assert isinstance(clip, Clip), clip
    levels = clip.frames_FHWC.mean((1, 2, 3))
    found = ((levels - 20) / 10).round()
    assert np.abs(levels - (20 + 10 * found)).max() < 3
    return [int(number) for number in found]


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    times_s: Sequence[float],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv444p",
    turned: int = 0,
    pixel_aspect: Fraction | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if turned:
            stream.set_display_rotation(turned)
        for frame_HWC, time_s in zip(frames, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plain(num_frames: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [np.full((*size, 3), grey(number), np.uint8) for number in range(num_frames)]


def halves(size: tuple[int, int], num_frames: int = 5) -> list[np.ndarray]:
    """Red above, blue below, brighter with time."""
    frames = []
    for number in range(num_frames):
        frame = np.zeros((*size, 3), np.uint8)
        frame[: size[0] // 2, :, 0] = frame[size[0] // 2 :, :, 2] = 150 + 20 * number
        frames.append(frame)
    return frames


def clips(path: Path, recipe: ClipRecipe = RECIPE) -> list[Clip | Reject]:
    return list(decode_clips(path, recipe))


def only_reject(path: Path, recipe: ClipRecipe = RECIPE) -> Reject:
    (found,) = clips(path, recipe)
    assert isinstance(found, Reject), found
    assert found.reason
    return found


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_a_constant_rate_is_resampled_by_time(tmp_path: Path, suffix: str) -> None:
    codec = {"codec": "libvpx-vp9", "pix_fmt": "yuv420p"} if suffix == "webm" else {}
    file = write(tmp_path / f"a.{suffix}", plain(20), [number / 24 for number in range(20)], **codec)
    one, *rest = clips(file)
    assert (one.start_s, numbers(one)) == (0.0, [0, 3, 6, 9])
    assert rest == []  # 2.67 frames are left


def test_clips_are_consecutive_and_of_the_same_rate_take_every_frame(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", plain(13), [number / 8 for number in range(13)])
    found = clips(file)
    assert [numbers(clip) for clip in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [clip.start_s for clip in found] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("origin_s", [0.0, 3.0])
def test_a_variable_rate_shows_what_was_on_the_screen(tmp_path: Path, suffix: str, origin_s: float) -> None:
    times_s = [0, 0.05, 0.1, 0.3, 0.375, 0.9, 1.0]  # on the screen at 0, 0.125, 0.25 ...: 0 2 2 4 4 4 4 4
    file = write(tmp_path / f"a.{suffix}", plain(7), [origin_s + time_s for time_s in times_s])
    one, two = clips(file, ClipRecipe(num_frames=4, fps=8, height=16, width=24, min_motion=0))
    assert numbers(one) == [0, 2, 2, 4]
    assert numbers(two) == [4, 4, 4, 4]


def test_a_slower_file_repeats_its_frames(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", plain(5), [number / 4 for number in range(5)])
    assert [numbers(clip) for clip in clips(file)] == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_a_file_gives_no_more_clips_than_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", plain(16), [number / 8 for number in range(16)])
    assert len(clips(file, ClipRecipe(4, 8, 16, 24, max_clips_per_file=2))) == 2


@pytest.mark.parametrize("size", [(33, 49), (15, 23), (64, 20), (32, 48), (17, 200)])
def test_any_size_covers_the_wanted_one_around_its_centre(tmp_path: Path, size: tuple[int, int]) -> None:
    file = write(tmp_path / "a.mp4", halves(size), [number / 8 for number in range(5)])
    (clip,) = clips(file)
    assert isinstance(clip, Clip)
    assert clip.frames_FHWC.shape == (4, 16, 24, 3)
    red, _, blue = clip.frames_FHWC[0].astype(int).transpose(2, 0, 1)
    assert red[:7].min() > 120 > 30 > red[10:].max()
    assert blue[10:].min() > 120 > 30 > blue[:6].max()


@pytest.mark.parametrize(("turned", "is_upright"), [(90, True), (-90, True), (180, False)])
def test_a_turned_file_is_shown_as_players_show_it(tmp_path: Path, turned: int, is_upright: bool) -> None:
    frames = [np.full((48, 32, 3), grey(number), np.uint8) for number in range(5)]
    for frame in frames:
        frame[:24] = 250  # above; a quarter turn to the left brings it to the left
    file = write(tmp_path / "a.mp4", frames, [number / 8 for number in range(5)], turned=turned)
    (clip,) = clips(file)
    assert isinstance(clip, Clip)
    places = {
        "left": clip.frames_FHWC[0, :, :8],
        "right": clip.frames_FHWC[0, :, -8:],
        "below": clip.frames_FHWC[0, -5:],
    }
    bright = {name for name, part in places.items() if part.min() > 200}
    assert bright == {90: {"left"}, -90: {"right"}, 180: {"below"}}[turned]
    assert is_upright == bool(bright & {"left", "right"})


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    """16 x 12 pixels of 2:1 show as 16 x 24: nothing is cut off."""
    frames = plain(5, (16, 12))
    for frame in frames:
        frame[:, :2] = 250
    file = write(tmp_path / "a.mp4", frames, [number / 8 for number in range(5)], pixel_aspect=Fraction(2, 1))
    (clip,) = clips(file)
    assert isinstance(clip, Clip)
    assert clip.frames_FHWC[0, :, :3].min() > 200 > 60 > clip.frames_FHWC[0, :, 6:].max()


def test_colours_are_those_that_our_files_hold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (4, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    encode_mp4([colours], tmp_path / "a.mp4", fps=8, crf=1)
    (clip,) = clips(tmp_path / "a.mp4", ClipRecipe(4, 8, 32, 48))
    assert isinstance(clip, Clip)
    middles = np.ix_(range(4), range(3, 32, 8), range(3, 48, 8))  # chroma is blurred at the edges
    assert np.abs(clip.frames_FHWC.astype(int) - colours)[middles].max() < 8
    assert np.abs(clip.frames_FHWC.astype(int) - read_frames(tmp_path / "a.mp4"))[middles].max() < 6


def test_black_and_still_clips_are_rejected_each_by_itself(tmp_path: Path) -> None:
    black, bright = np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 99, np.uint8)
    file = write(tmp_path / "a.mp4", [black] * 4 + [bright] * 4 + plain(4), [number / 8 for number in range(12)])
    first, second, third = clips(file)
    assert isinstance(first, Reject)
    assert (first.code, first.start_s) == ("black", 0.0)
    assert isinstance(second, Reject)
    assert (second.code, second.start_s) == ("still", 0.5)
    assert (numbers(third), third.start_s) == ([0, 1, 2, 3], 1.0)
    assert len(clips(file, ClipRecipe(4, 8, 16, 24, min_mean_luma=0, min_motion=0))) == 3


def test_a_file_that_is_too_short(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", plain(3), [number / 8 for number in range(3)])
    assert only_reject(file) == Reject(0.0, "too_short", "3 frames at 8 a second, a clip takes 4")


@pytest.mark.parametrize(("has_video_track", "code"), [(False, "no_video"), (True, "no_frames")])
def test_a_file_with_sound_only(tmp_path: Path, has_video_track: bool, code: str) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        if has_video_track:
            video = container.add_stream("libx264", rate=8)
            video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert only_reject(tmp_path / "a.mkv").code == code


@pytest.mark.parametrize(
    "data", [b"", b"no video\n" * 99, b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n#EXT-X-ENDLIST\n"]
)
def test_an_empty_and_a_foreign_file(tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "other.mp4", plain(8), [number / 8 for number in range(8)])
    (tmp_path / "a.mp4").write_bytes(data)
    assert only_reject(tmp_path / "a.mp4").code == "unreadable"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert only_reject(tmp_path / "none.mp4").code == "unreadable"


def test_a_file_that_was_cut_short_keeps_its_whole_clips(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    encode_mp4([rng.integers(0, 256, (40, 64, 96, 3), np.uint8)], tmp_path / "whole.mp4", fps=8)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    *good, last = clips(tmp_path / "cut.mp4")
    assert 2 <= len([clip for clip in good if isinstance(clip, Clip)]) <= 6
    assert isinstance(last, Reject)
    assert last.code == "damaged"
    (tmp_path / "cut.mp4").write_bytes(data[:900])
    assert only_reject(tmp_path / "cut.mp4").code in {"unreadable", "damaged"}


def test_a_damaged_middle_costs_only_its_clips(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    encode_mp4([rng.integers(0, 256, (40, 64, 96, 3), np.uint8)], tmp_path / "a.mp4", fps=8)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    (tmp_path / "a.mp4").write_bytes(data)
    found = clips(tmp_path / "a.mp4")
    assert isinstance(found[0], Clip)
    assert {clip.code for clip in found if isinstance(clip, Reject)} == {"damaged"}


def test_a_timestamp_of_next_year_does_not_make_a_film(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mkv", plain(9), [*(number / 8 for number in range(8)), 3e6])
    found = clips(file, ClipRecipe(4, 8, 16, 24, max_clips_per_file=9999))
    assert [numbers(clip) for clip in found[:1]] == [[0, 1, 2, 3]]
    assert isinstance(found[-1], Reject)
    assert found[-1].code == "damaged"
    assert len(found) < 2000


def test_an_open_file_is_read_like_a_path(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", plain(8), [number / 8 for number in range(8)])
    found = list(decode_clips(io.BytesIO(file.read_bytes()), RECIPE))
    assert [numbers(clip) for clip in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    "changes", [{"num_frames": 0}, {"fps": 0}, {"height": 15}, {"min_motion": -1}, {"min_mean_luma": 256}, {"crf": 52}]
)
def test_a_recipe_that_cannot_be(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match="allowed|allows"):
        ClipRecipe(**changes)
