"""The way from frames to shares: all right on true clips, nothing readable in noise, silence not counted."""

import math

import numpy as np
import pytest

from fv_ray.training.procedural.render import render_clip
from fv_ray.training.procedural.scene import ATTRIBUTES, draw_scene
from jobs.evaluation.choose_prompts import Prompt, world_prompts
from jobs.evaluation.score_clips import FIGURES, KINDS, Score, Share, means, score, shares, table_row

NUM_PROMPTS = 12


@pytest.fixture(scope="module")
def true_scores() -> list[Score]:
    """Of the clips that the prompts' scenes mean."""
    scores = []
    for prompt in world_prompts(NUM_PROMPTS, "held_out", 0):
        scene = draw_scene(prompt.seed, "held_out")
        scores.append(score(prompt, render_clip(scene, 9, 32, 48), render_clip(scene, 9, 128, 192)))
    return scores


def test_true_clips_are_all_right_but_for_textures_of_previews(true_scores: list[Score]) -> None:
    assert {found.percent for found in shares(true_scores, "video").values()} == {100}
    of_previews = shares(true_scores, "preview")
    assert {of_previews[name].percent for name in of_previews if name != "texture"} == {100}
    num_plain = sum(each.expected["texture"] == "plain" for each in true_scores)
    assert of_previews["texture"] == Share(num_plain, NUM_PROMPTS)


def test_true_videos_are_faithful_to_their_previews(true_scores: list[Score]) -> None:
    found = means(true_scores)
    assert found.keys() == FIGURES.keys()
    assert found["faithfulness_db"] > 45
    assert found["faithfulness_ssim"] > 0.99
    assert found["video_flicker"] == pytest.approx(found["preview_flicker"], rel=0.05)


def test_what_a_caption_leaves_open_is_not_counted(true_scores: list[Score]) -> None:
    asked = {name: sum(name in each.expected for each in true_scores) for name in ATTRIBUTES}
    assert {name: shares(true_scores, "video")[name].num_asked for name in ATTRIBUTES} == asked
    assert asked["size"] < NUM_PROMPTS
    assert asked["texture"] == asked["motion"] == NUM_PROMPTS


def test_noise_is_not_readable_and_never_right() -> None:
    prompt = world_prompts(1, "held_out", 0)[0]
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, (9, *size, 3), dtype=np.uint8) for size in ((32, 48), (128, 192))]
    found = score(prompt, *clips)
    assert found.seen == {"preview": {}, "video": {}}
    for kind in KINDS:
        assert {share.percent for name, share in shares([found], kind).items() if share.num_asked} == {0}


def test_another_scene_is_wrong_where_it_differs() -> None:
    prompt, other = world_prompts(2, "held_out", 0)
    scene = draw_scene(other.seed, "held_out")
    found = score(prompt, render_clip(scene, 9, 32, 48), render_clip(scene, 9, 128, 192))
    expected = {name: scene.attributes[name] == value for name, value in prompt.expected.items()}
    assert found.is_right("video") == expected
    assert not all(expected.values())
    row = table_row(found)
    assert row["video_shape"] == scene.shape
    assert row["expected_shape"] == prompt.expected["shape"]
    assert row["video_shape_is_right"] == expected["shape"]


def test_a_person_s_prompt_gets_figures_alone() -> None:
    frames = np.zeros((9, 16, 32, 3), np.uint8)
    found = score(Prompt(0, "a fox", 0), frames, frames.repeat(2, 1).repeat(2, 2))
    assert (found.seen, found.clearness, found.expected) == ({}, {}, {})
    assert found.figures == {
        "faithfulness_db": math.inf,
        "faithfulness_ssim": 1,
        "preview_flicker": 0,
        "video_flicker": 0,
    }
    assert table_row(found).keys() == {"number", "seed", "prompt", "num_tokens_cut", *FIGURES}
    assert math.isnan(shares([found], "video")["shape"].percent)


def test_a_single_frame_has_no_flicker() -> None:
    frames = np.zeros((1, 16, 32, 3), np.uint8)
    assert score(Prompt(0, "a fox", 0), frames, frames).figures.keys() == {"faithfulness_db", "faithfulness_ssim"}
