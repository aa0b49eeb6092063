from pathlib import Path
from typing import Any

import pytest

from deployments.http.bodies import CreateBody, StageTwoChanges
from deployments.http.errors import ApiError
from deployments.http.sizes import (
    PixelSize,
    changed_size,
    frames_by_seconds,
    num_frames,
    preview_size,
    told_seconds,
    video_size,
)
from fv_ray.checkpoint import CheckpointInfo, SizeLimits
from fv_ray.presets import RELEASED_LIMITS, RELEASED_SIZE, released


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


def sizes_of(info: CheckpointInfo, **fields: Any) -> tuple[str, str]:
    body = CreateBody.model_validate({"prompt": "a fox"} | fields)
    preset = info.presets[info.default_preset]
    video = video_size(body, preset, info.stage_two_limits)
    return str(preview_size(video, body, preset, info.stage_one_limits)), str(video)


@pytest.mark.parametrize(
    ("size", "preview"),
    [("1920x1072", "480x256"), ("1280x720", "320x176"), ("960x1440", "224x352"), ("16x16", "16x16")],
)
def test_a_preview_follows_its_video(info: CheckpointInfo, size: str, preview: str) -> None:
    assert sizes_of(info, size=size) == (preview, size)


def test_a_video_on_end_has_its_preview_on_end(info: CheckpointInfo) -> None:
    preset = info.presets[info.default_preset]
    one, two = preset.stage_one, preset.stage_two
    body = CreateBody(prompt="a fox")
    limits = info.stage_one_limits.model_copy(update={"max_height": 848})
    on_end = preview_size(PixelSize(two.height, two.width), body, preset, limits)
    assert (on_end.width, on_end.height) == (one.height, one.width)


def test_without_a_size_it_is_the_preset_s(info: CheckpointInfo) -> None:
    assert sizes_of(info) == ("480x256", "1920x1072")


def test_each_stage_s_size_can_be_given(info: CheckpointInfo) -> None:
    extras = {"stage_one": {"height": 240}, "stage_two": {"width": 1280, "height": 720}}
    assert sizes_of(info, flashvideo=extras) == ("320x240", "1280x720")


@pytest.mark.parametrize(
    ("size", "nearest"),
    [("1920x1080", "1920x1072"), ("1920x1081", "1920x1088"), ("17x17", "16x16"), ("99999x99999", "2560x1440")],
)
def test_a_size_that_cannot_be_made_is_refused_with_the_nearest(info: CheckpointInfo, size: str, nearest: str) -> None:
    with pytest.raises(ApiError, match=f"the nearest is {nearest}") as error:
        sizes_of(info, size=size)
    assert (error.value.status, error.value.param) == (400, "size")
    sizes_of(info, size=nearest)


def test_a_size_is_said_once(info: CheckpointInfo) -> None:
    with pytest.raises(ApiError, match="give one"):
        sizes_of(info, size="1280x720", flashvideo={"stage_two": {"width": 1280}})


def test_a_committed_size_is_checked_too(info: CheckpointInfo) -> None:
    before = PixelSize(1920, 1072)
    assert changed_size(before, StageTwoChanges(width=1280), info.stage_two_limits) == PixelSize(1280, 1072)
    with pytest.raises(ApiError, match="multiples of 16"):
        changed_size(before, StageTwoChanges(width=1000), info.stage_two_limits)


def frames_of(info: CheckpointInfo, **fields: Any) -> int:
    body = CreateBody.model_validate({"prompt": "a fox"} | fields)
    return num_frames(body, info.presets[info.default_preset], info)


def test_seconds_are_frames_at_the_checkpoint_s_rate(info: CheckpointInfo) -> None:
    assert info.fps == 8
    assert frames_by_seconds(info) == {"1": 9, "2": 17, "3": 25, "4": 33, "5": 41, "6": 49}
    assert frames_of(info) == 49
    assert frames_of(info, seconds="4") == frames_of(info, seconds=4) == 33
    assert frames_of(info, flashvideo={"num_frames": 21}) == 21


def test_a_length_is_told_as_it_was_asked_for(info: CheckpointInfo) -> None:
    for seconds, frames in frames_by_seconds(info).items():
        assert told_seconds(frames, info.fps) == seconds


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"seconds": "8"}, "1, 2, 3, 4, 5, 6"),
        ({"flashvideo": {"num_frames": 48}}, "use 49"),
        ({"flashvideo": {"num_frames": 50}}, "use 49"),
        ({"flashvideo": {"num_frames": 100_000}}, "use 49"),
        ({"seconds": "4", "flashvideo": {"num_frames": 33}}, "give one"),
    ],
)
def test_a_length_that_cannot_be_made_is_refused(info: CheckpointInfo, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ApiError, match=told):
        frames_of(info, **fields)
