"""The named recipes: valid, changed field by field, told as JSON."""

import json

import pytest

from fv_ray.errors import InputError
from jobs.training.recipes import RECIPES, find_recipe, read_recipe

ALL = [(part, name) for part, recipes in RECIPES.items() for name in recipes]
each_recipe = pytest.mark.parametrize(("part", "name"), ALL, ids=" ".join)


@each_recipe
def test_a_recipe_is_what_its_name_says(part: str, name: str) -> None:
    recipe = find_recipe(part, name)
    assert (recipe.part, recipe.name) == (part, name)
    assert recipe.num_steps >= recipe.warmup_steps + recipe.decay_steps


@each_recipe
def test_a_recipe_comes_back_from_json(part: str, name: str) -> None:
    recipe = find_recipe(part, name)
    assert read_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


def test_the_curriculum_is_the_published_one() -> None:
    phases = [find_recipe("stage_two", f"paper-{phase}") for phase in (1, 2, 3, 4)]
    assert [phase.num_steps for phase in phases] == [25_000, 30_000, 5_000, 700]
    assert {phase.learning_rate for phase in phases} == {4e-5}
    levels = [(recipe.noise_levels_at(0), recipe.noise_levels_at(1000)) for recipe in phases]  # type: ignore[union-attr]
    assert levels == [((600, 900), (600, 900))] * 2 + [((600, 900), (650, 750)), ((650, 750), (650, 750))]


def test_fields_are_changed_by_json_or_plain_words() -> None:
    changes = {
        "num_steps": "9",
        "precision": "float32",
        "strategy": "fsdp",
        "learning_rate": "1e-3",
        "noise_levels": "[1, 2]",
        "pixel_degradation": "false",
        "views": '[{"batch_size": 2, "num_frames": 1, "height": 16, "width": 16}]',
    }
    recipe = find_recipe("stage_two", "tiny", changes)
    changed = recipe.model_dump()
    assert (recipe.num_steps, recipe.precision, recipe.strategy, recipe.learning_rate) == (9, "float32", "fsdp", 1e-3)
    assert (changed["noise_levels"], changed["pixel_degradation"], recipe.views[0].batch_size) == ((1, 2), False, 2)
    same = {name: value for name, value in changed.items() if name not in changes}
    assert same.items() <= find_recipe("stage_two", "tiny").model_dump().items()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_steps": "0"}, r"num_steps is 0: .*greater than or equal to 1; give another"),
        ({"num_steps": "many"}, r"num_steps is 'many': .*valid integer"),
        ({"colour": "red"}, r"colour"),
        ({"precision": "float8"}, r"precision is 'float8': .*'bfloat16' or 'float32'"),
        ({"warmup_steps": "5", "decay_steps": "2"}, r"warmup_steps 5 and decay_steps 2 .* num_steps 6; allowed"),
        ({"sample_every": "3"}, r"sample_every is 3; allowed are multiples of checkpoint_every 2"),
        ({"noise_levels": "[700, 400]"}, r"noise_levels are \(700, 400\); allowed are 0 to 999 in rising order"),
        ({"views": '[{"batch_size": 1, "num_frames": 8, "height": 16, "width": 16}]'}, r"num_frames is 8; allowed"),
        ({"views": '[{"batch_size": 1, "num_frames": 1, "height": 20, "width": 16}]'}, r"height is 20 of 20 pixels"),
    ],
)
def test_what_is_not_allowed_is_told_with_its_field_and_value(change: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        find_recipe("stage_two", "tiny", change)
    assert "\n" not in str(caught.value)


def test_an_autoencoder_takes_only_lengths_that_its_decoder_brings_back() -> None:
    views = '[{"batch_size": 1, "num_frames": 5, "height": 16, "width": 16}]'
    with pytest.raises(InputError, match=r"num_frames is 5; allowed are 1 \+ 8k"):
        find_recipe("vae", "tiny", {"views": views})


def test_unknown_recipes_are_told_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="there is no recipe 'huge' for vae; allowed are small, tiny: choose"):
        find_recipe("vae", "huge")
    with pytest.raises(InputError, match="this is no training recipe"):
        read_recipe({"part": "sound"})
