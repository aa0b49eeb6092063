from pathlib import Path
from typing import Any

import pytest

from fv_ray.checkpoint import CheckpointInfo, SizeLimits
from fv_ray.errors import SizeRefused
from fv_ray.presets import RELEASED_LIMITS, RELEASED_SIZE, released
from fv_ray.sizes import Asked, PixelSize, Sides, asked_clip, changed_size, frames_by_seconds, told_seconds


@pytest.fixture
def info(checkpoint: Path) -> CheckpointInfo:
    """The released sizes: 480x256 and 1920x1072, up to 848x480 and 2560x1440, 49 frames."""
    most = RELEASED_LIMITS
    return CheckpointInfo.read(checkpoint).model_copy(
        update={
            "presets": {"released": released(RELEASED_SIZE)},
            "default_preset": "released",
            "stage_one_limits": SizeLimits(max_height=most.stage_one_height, max_width=most.stage_one_width),
            "stage_two_limits": SizeLimits(max_height=most.stage_two_height, max_width=most.stage_two_width),
        }
    )


def sizes_of(info: CheckpointInfo, **said: Any) -> tuple[str, str]:
    clip = asked_clip(Asked(**said), info.preset(None), info)
    return str(clip.preview), str(clip.video)


@pytest.mark.parametrize(
    ("size", "preview"),
    [("1920x1072", "480x256"), ("1280x720", "320x176"), ("960x1440", "224x352"), ("16x16", "16x16")],
)
def test_a_preview_follows_its_video(info: CheckpointInfo, size: str, preview: str) -> None:
    assert sizes_of(info, size=size) == (preview, size)


def test_a_video_on_end_has_its_preview_on_end(info: CheckpointInfo) -> None:
    limits = info.stage_one_limits.model_copy(update={"max_height": 848})
    tall = SizeLimits(max_height=2560, max_width=2560)
    on_end = info.model_copy(update={"stage_one_limits": limits, "stage_two_limits": tall})
    assert sizes_of(on_end, size="1072x1920") == ("256x480", "1072x1920")


def test_without_a_size_it_is_the_preset_s(info: CheckpointInfo) -> None:
    assert sizes_of(info) == ("480x256", "1920x1072")


def test_each_stage_s_size_can_be_given(info: CheckpointInfo) -> None:
    said = {"stage_one": Sides(height=240), "stage_two": Sides(1280, 720)}
    assert sizes_of(info, **said) == ("320x240", "1280x720")


@pytest.mark.parametrize(
    ("size", "nearest"),
    [("1920x1080", "1920x1072"), ("1920x1081", "1920x1088"), ("17x17", "16x16"), ("99999x99999", "2560x1440")],
)
def test_a_size_that_cannot_be_made_is_refused_with_the_nearest(info: CheckpointInfo, size: str, nearest: str) -> None:
    with pytest.raises(SizeRefused, match=f"the nearest is {nearest}") as error:
        sizes_of(info, size=size)
    assert (error.value.code, error.value.param) == ("invalid_size", "size")
    sizes_of(info, size=nearest)


def test_a_size_is_said_once(info: CheckpointInfo) -> None:
    with pytest.raises(SizeRefused, match=r"size and flashvideo\.stage_two\.width and height say the same; give one"):
        sizes_of(info, size="1280x720", stage_two=Sides(width=1280), place="flashvideo.")


def test_a_committed_size_is_checked_too(info: CheckpointInfo) -> None:
    before, limits = PixelSize(1920, 1072), info.stage_two_limits
    assert changed_size(before, Sides(width=1280), limits, "width") == PixelSize(1280, 1072)
    for width in (0, 1000):
        with pytest.raises(SizeRefused, match="multiples of 16"):
            changed_size(before, Sides(width=width), limits, "width")


def frames_of(info: CheckpointInfo, **said: Any) -> int:
    return asked_clip(Asked(**said), info.preset(None), info).num_frames


def test_seconds_are_frames_at_the_checkpoint_s_rate(info: CheckpointInfo) -> None:
    assert info.fps == 8
    assert frames_by_seconds(info) == {"1": 9, "2": 17, "3": 25, "4": 33, "5": 41, "6": 49}
    assert frames_of(info) == 49
    assert frames_of(info, seconds="4") == 33
    assert frames_of(info, num_frames=21) == 21


def test_a_length_is_told_as_it_was_asked_for(info: CheckpointInfo) -> None:
    for seconds, frames in frames_by_seconds(info).items():
        assert told_seconds(frames, info.fps) == seconds


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"seconds": "8"}, "1, 2, 3, 4, 5, 6"),
        ({"num_frames": 48}, "use 49"),
        ({"num_frames": 50}, "use 49"),
        ({"num_frames": 100_000}, "use 49"),
        ({"num_frames": 0}, "use 1"),
        ({"seconds": "4", "num_frames": 33}, "give one"),
    ],
)
def test_a_length_that_cannot_be_made_is_refused(info: CheckpointInfo, said: dict[str, Any], told: str) -> None:
    with pytest.raises(SizeRefused, match=told):
        frames_of(info, **said)
