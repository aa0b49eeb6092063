"""Prompts of the world say what their scenes show; tables are taken as they are or refused."""

from pathlib import Path

import pytest

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError
from fv_ray.training.procedural.scene import draw_scene, split_of
from jobs.evaluation.choose_prompts import Prompt, check_sizes, table_prompts, true_clips, world_prompts


def test_world_prompts_expect_what_their_scenes_show() -> None:
    prompts = world_prompts(60, "held_out", 7)
    assert [prompt.seed for prompt in prompts] == list(range(7, 67))
    for prompt in prompts:
        scene = draw_scene(prompt.seed, "held_out")
        assert split_of(scene.colour, scene.shape, scene.motion) == "held_out"
        assert prompt.expected.items() <= scene.attributes.items()
        assert {"shape", "colour", "motion", "texture"} <= prompt.expected.keys()
    assert any("size" not in prompt.expected for prompt in prompts)
    assert any("background" not in prompt.expected for prompt in prompts)


def test_a_table_s_prompts_expect_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("note,prompt\n1,a red circle\n2,\n3, a fox \n")
    found = table_prompts(str(tmp_path / "t.csv"), None, 5)
    assert found == [Prompt(0, "a red circle", 5), Prompt(1, "a fox", 6)]
    assert all(prompt.expected == {} for prompt in found)
    assert table_prompts(f"file://{tmp_path}/t.csv", 1, 5) == found[:1]


@pytest.mark.parametrize(
    ("content", "num_prompts", "message"),
    [
        ("text\na\n", None, "no column 'prompt'; it has text: rename"),
        ("", None, "no column 'prompt'; it has none"),
        ("prompt\n\n", None, "holds no prompt"),
        ("prompt\na\n", 0, "num_prompts is 0; allowed are 1 or more"),
    ],
)
def test_a_table_without_prompts(tmp_path: Path, content: str, num_prompts: int | None, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        table_prompts(str(tmp_path / "t.csv"), num_prompts, 0)


@pytest.mark.parametrize("name", ["nothing.csv", "thesis.tex"])
def test_what_is_no_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="is no table; allowed are files that end in .csv"):
        table_prompts(str(tmp_path / name), None, 0)


def test_no_prompts_of_the_world() -> None:
    with pytest.raises(InputError, match="num_prompts is 0"):
        world_prompts(0, "held_out", 0)


def test_sizes_that_the_judge_or_the_world_cannot_take_are_refused_at_once(checkpoint: Path) -> None:
    info = CheckpointInfo.read(checkpoint)
    prompt = world_prompts(1, "held_out", 0)[0]

    def check(low: tuple[int, int], high: tuple[int, int], num_frames: int = 9) -> None:
        (low_height, low_width), (height, width) = low, high
        request = info.request(
            prompt.text,
            seed=0,
            stage_one={"num_frames": num_frames, "height": low_height, "width": low_width},
            stage_two={"height": height, "width": width},
        )
        check_sizes(info, prompt, request)

    check((32, 48), (64, 96))
    with pytest.raises(InputError, match=r"at least 32 x 32 pixels"):
        check((16, 32), (64, 128))
    with pytest.raises(InputError, match="2 or more"):
        check((32, 48), (64, 96), num_frames=1)
    with pytest.raises(InputError, match="period is 3 pixels"):
        check((32, 48), (96, 144))


def test_a_table_s_prompt_has_no_scene(checkpoint: Path) -> None:
    info = CheckpointInfo.read(checkpoint)
    with pytest.raises(InputError, match="only procedural prompts have a scene"):
        true_clips(Prompt(0, "a fox", 0), info.request("a fox", seed=0))
