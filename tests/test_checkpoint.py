"""A checkpoint's own words: requests made from them, sizes refused with the nearest, folders that are none."""

import json
from pathlib import Path

import pytest

from fv_ray.checkpoint import CheckpointInfo, SizeLimits
from fv_ray.errors import CheckpointError, InputError
from fv_ray.presets import RELEASED_SIZE, paper, released

CHECKPOINT = CheckpointInfo(
    name="FlashVideo",
    digest="sha256:0",
    fps=8,
    max_prompt_tokens=226,
    stage_one_scaling_factor=0.7,
    stage_two_scaling_factor=1.15258426,
    max_frames=49,
    stage_one_limits=SizeLimits(max_height=480, max_width=848),
    stage_two_limits=SizeLimits(max_height=1440, max_width=2560),
    default_preset="released",
    presets={"released": released(RELEASED_SIZE), "paper": paper(RELEASED_SIZE)},
)


def test_defaults_come_from_the_preset_and_changes_lie_over_them() -> None:
    request = CHECKPOINT.request("a fox", seed=1, preset="paper", stage_two={"shift": 2.0})
    assert request.stage_one == paper(RELEASED_SIZE).stage_one
    assert request.stage_two == paper(RELEASED_SIZE).stage_two.model_copy(update={"shift": 2.0})


def test_presets_say_their_sources_steps() -> None:
    steps = {
        n: (p.stage_one.num_inference_steps, p.stage_two.num_inference_steps) for n, p in CHECKPOINT.presets.items()
    }
    assert steps == {"paper": (50, 4), "released": (51, 5)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "x" * 32_001}, r"\(32001 characters\): String should have at most 32000 characters"),
        ({"seed": -1}, "seed is -1: Input should be greater than or equal to 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"preset": "fast"}, "there is no preset 'fast'; this checkpoint has released, paper"),
        (
            {"stage_one": {"num_inference_steps": 0}},
            "num_inference_steps is 0: Input should be greater than or equal to 1",
        ),
        ({"stage_one": {"num_inference_steps": True}}, "num_inference_steps is True"),
        ({"stage_one": {"num_frames": 48}}, r"num_frames is 48; allowed are 1 \+ 4k up to 49: use 45 or 49"),
        ({"stage_one": {"num_frames": 53}}, r"num_frames is 53; allowed are 1 \+ 4k up to 49: use 49"),
        ({"stage_one": {"height": 270}}, "height of stage one is 270; .* multiples of 16 up to 480: use 256 or 272"),
        ({"stage_one": {"width": 8}}, "width of stage one is 8; .*: use 16"),
        ({"stage_two": {"height": 1080}}, "height of stage two is 1080; .*: use 1072 or 1088"),
        ({"stage_two": {"width": 2561}}, "width of stage two is 2561; .*: use 2560"),
        ({"stage_two": {"guidance_scale": float("nan")}}, "guidance_scale is nan: Input should be a finite number"),
        ({"stage_two": {"shift": 0}}, "shift is 0: Input should be greater than 0"),
        ({"stage_two": {"noise_level": 1000}}, "noise_level is 1000: Input should be less than 1000"),
        ({"stage_two": {"guidance": 3}}, "stage_two.guidance is 3: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_made_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CHECKPOINT.request(**({"prompt": "a fox", "seed": 1} | changes))


@pytest.mark.parametrize("frames", [1, 5, 49])
def test_frames_that_can_be(frames: int) -> None:
    assert CHECKPOINT.request("a fox", seed=1, stage_one={"num_frames": frames}).stage_one.num_frames == frames


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no checkpoint: .* does not exist"):
        CheckpointInfo.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is of another pipeline"),
        ('{"_class_name": "CogVideoXPipeline"}', "is of another pipeline"),
        ('{"fv_ray": {"name": 1}}', "is not understood"),
    ],
)
def test_an_index_that_is_not_ours(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        CheckpointInfo.read(tmp_path)


def test_an_index_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(f'{{"fv_ray": {CHECKPOINT.model_dump_json()}}}')
    assert CheckpointInfo.read(tmp_path) == CHECKPOINT


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 99},
        {"default_preset": "fast"},
        {"name": ""},
        {"max_prompt_tokens": 0},
        {"stage_one_scaling_factor": 0},
        {"stage_two_scaling_factor": "NaN"},
        {"max_frames": 0},
        {"fps": 0},
        {"stage_one_limits": {"max_height": 1, "max_width": 16}},
    ],
)
def test_an_index_of_another_time(tmp_path: Path, change: dict[str, object]) -> None:
    content = CHECKPOINT.model_dump(mode="json") | change
    (tmp_path / "model_index.json").write_text(json.dumps({"fv_ray": content}))
    with pytest.raises(CheckpointError, match="is not understood"):
        CheckpointInfo.read(tmp_path)
