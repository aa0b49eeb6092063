"""A step's samples: decided by the recipe, the data and the step, whoever loads them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from fv_ray.training.recipe import AnyRecipe
from jobs.training.data import open_source
from jobs.training.recipes import find_recipe
from jobs.training.stream import MAX_STEPS_AHEAD, choose_view, load_batch, read_batch, stream_batches, to_batch
from tests.jobs.training.shards import row, write_shards

DATA = {"high": "procedural", "low": "procedural"}


def together(recipe: AnyRecipe, data: dict[str, str], step: int, num_workers: int) -> tuple[dict[str, Any], Any]:
    rows = [load_batch(recipe, data, step, worker, num_workers) for worker in range(num_workers)]
    notes, arrays = [json.loads(each["note"]) for each in rows], [load(each["tensors"]) for each in rows]
    joined = {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}
    return {name: [each for note in notes for each in note[name]] for name in ("slots", "ids", "captions")}, joined


@pytest.mark.parametrize(("part", "steps"), [("vae", range(4)), ("stage_one", (3,)), ("stage_two", (3,))])
def test_workers_load_together_what_one_loads_alone(part: str, steps: Any) -> None:
    recipe = find_recipe(part, "tiny")
    for step in steps:
        (note, arrays), (alone, whole) = (together(recipe, DATA, step, number) for number in (2, 1))
        assert note == alone
        assert note["slots"] == list(range(choose_view(recipe, step).batch_size))
        assert arrays.keys() == whole.keys()
        for name, array in whole.items():
            np.testing.assert_array_equal(arrays[name], array)


def test_a_set_is_gone_through_without_gaps(tmp_path: Path) -> None:
    recipe = find_recipe("stage_two", "tiny")
    url = write_shards(tmp_path / "set", [row(number) for number in range(12)])
    seen = [name for step in range(6) for name in together(recipe, {"high": url}, step, 2)[0]["ids"]]
    assert set(Counter(seen).values()) == {2}  # 6 steps of 4 are two epochs of 12
    assert len(set(seen[:12])) == len(set(seen[12:])) == 12


def test_views_are_taken_as_often_as_they_weigh() -> None:
    recipe = find_recipe("vae", "small")
    steps = Counter(choose_view(recipe, step) for step in range(4000))
    for view in recipe.views:
        assert steps[view] / 4000 == pytest.approx(view.weight, abs=0.03)  # 4 standard deviations


def test_a_crop_is_a_part_of_its_clip() -> None:
    recipe = find_recipe("vae", "tiny")
    step = next(step for step in range(50) if choose_view(recipe, step).source == "high")
    view = recipe.views[0]
    crops = load(load_batch(recipe, DATA, step, 0, 1)["tensors"])["frames"]
    assert crops.shape == (2, 9, 16, 16, 3)
    for slot, crop in enumerate(crops):
        frames = open_source("procedural", view).sample(step * view.batch_size + slot, recipe.seed)[2]["frames"]
        places = [(y, x) for y in range(17) for x in range(33) if (frames[:, y : y + 16, x : x + 16] == crop).all()]
        assert places


def test_stage_two_gets_degraded_frames_of_the_same_clip() -> None:
    arrays = load(load_batch(find_recipe("stage_two", "tiny"), DATA, 0, 0, 1)["tensors"])
    clean, degraded = arrays["frames"].astype(np.float32) / 127.5 - 1, arrays["degraded_frames"].astype(np.float32)
    assert clean.shape == degraded.shape == (4, 9, 32, 64, 3)
    apart = [np.abs(clean[slot] - degraded[slot]).mean() for slot in range(4)]
    assert min(apart) > 1e-3
    others = [np.abs(clean[slot] - degraded[slot - 1]).mean() for slot in range(4)]
    assert sum(apart) < sum(others)
    plain = find_recipe("stage_two", "tiny", {"pixel_degradation": "false"})
    assert load(load_batch(plain, DATA, 0, 0, 1)["tensors"]).keys() == {"frames"}


def test_the_first_samples_are_those_of_the_first_step() -> None:
    recipe = find_recipe("stage_one", "tiny")
    batch = read_batch(recipe, DATA, 2)
    note, arrays = together(recipe, DATA, 0, 1)
    assert (list(batch.ids), batch.num_slots, batch.step) == (note["ids"][:2], 4, 0)
    np.testing.assert_array_equal(batch.tensors["frames"].numpy(), arrays["frames"][:2])
    assert len(read_batch(recipe, DATA, 100)) == 4


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_a_run_streams_its_steps_in_order_from_where_it_was(tmp_path: Path) -> None:
    recipe = find_recipe("stage_two", "tiny", {"num_steps": str(2 * MAX_STEPS_AHEAD + 3)})
    data = {"high": write_shards(tmp_path / "set", [row(number) for number in range(12)])}
    streamed = list(stream_batches(recipe, data, 2, worker=0, num_workers=1, num_loaders=2))
    assert [batch.step for batch in streamed] == list(range(2, recipe.num_steps))
    for batch in streamed[:: MAX_STEPS_AHEAD // 2]:
        alone = to_batch(load_batch(recipe, data, batch.step, 0, 1))
        assert batch.ids == alone.ids
        assert all((batch.tensors[name] == tensor).all() for name, tensor in alone.tensors.items())
