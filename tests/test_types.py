"""Requests: frozen, checked where they are made, and the rule of stage two's seed."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from fv_ray.presets import SMALL_SIZE, released
from fv_ray.types import VideoRequest, with_prompt

PRESET = released(SMALL_SIZE)


def request(**changes: object) -> VideoRequest:
    values = {"prompt": "a fox", "seed": 1, "stage_one": PRESET.stage_one, "stage_two": PRESET.stage_two}
    return VideoRequest.model_validate(values | changes)


def test_stage_two_seed_is_derived_by_the_documented_rule() -> None:
    # printf fv-ray/stage_two/1 | sha256sum: the first 63 bits. It must never change: stored previews count on it.
    assert request().stage_two_seed == 6936815189873128856
    assert request(seed=2).stage_two_seed != request().stage_two_seed


def test_stage_two_seed_may_be_given() -> None:
    assert request(stage_two=PRESET.stage_two.model_copy(update={"seed": 5})).stage_two_seed == 5


@pytest.mark.parametrize("prompt", ["", "   ", "\n", "a\x00b", "x" * 32_001])
def test_prompts_that_cannot_be(prompt: str) -> None:
    with pytest.raises(ValidationError, match="prompt"):
        request(prompt=prompt)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "1", True])
def test_seeds_that_cannot_be(seed: object) -> None:
    with pytest.raises(ValidationError, match="seed"):
        request(seed=seed)


def test_with_prompt_changes_only_the_prompt() -> None:
    edited = with_prompt(request(), "a cat")
    assert edited == request(prompt="a cat")
    with pytest.raises(ValidationError):
        with_prompt(request(), " ")


def test_json_round_trip() -> None:
    assert VideoRequest.model_validate_json(request().model_dump_json()) == request()


def test_importing_the_values_loads_no_numpy() -> None:
    program = "import sys, fv_ray.types; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout.split() == [b"False"]
