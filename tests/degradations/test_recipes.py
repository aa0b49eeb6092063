"""Named degradations: the published numbers, and nothing but blur and resize unless it is asked for."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch import Tensor

from fv_ray.degradations.draws import Walk
from fv_ray.degradations.pixel import degrade_clip
from fv_ray.degradations.recipes import FINAL_SINC, FIRST_BLUR, SECOND_BLUR, flashvideo, second_order
from fv_ray.degradations.steps import Noise, Recipe, Resize, Shrink, Shuffled, SingleStep, Step
from fv_ray.errors import InputError


def flat(steps: tuple[Step, ...]) -> Iterator[SingleStep]:
    for step in steps:
        if isinstance(step, Shuffled):
            yield from flat(tuple(chain.from_iterable(step.groups)))
        else:
            yield step


def names(steps: tuple[Step, ...]) -> list[str]:
    return [type(step).__name__ for step in flat(steps)]


def run(recipe: Recipe, seed: int = 3) -> Tensor:
    clip = torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    return degrade_clip(clip, replace(recipe, strong_probability=1), torch.Generator().manual_seed(seed))


def test_flashvideo_blurs_and_resizes() -> None:
    recipe = flashvideo()
    assert recipe.strong_probability == 0.5
    assert names(recipe.weak) == ["Shrink"]
    assert names(recipe.strong) == ["Blur", "Resize", "Blur"]
    (weak,) = recipe.weak
    assert isinstance(weak, Shrink)
    assert weak.factor == Walk(4, 8)
    resize = recipe.strong[1]
    assert isinstance(resize, Resize)
    assert [(walk.low, walk.high) for walk in resize.scales.options] == [(1 / 8, 1 / 4), (1 / 4, 1 / 3)]


def test_the_blurs_have_the_published_numbers() -> None:
    assert (FIRST_BLUR.sigma, FIRST_BLUR.probability) == (Walk(0.2, 3, 0.02), 1)
    assert (SECOND_BLUR.sigma, SECOND_BLUR.probability) == (Walk(0.2, 1.5, 0.02), 0.8)
    assert (FINAL_SINC.omega.low, FINAL_SINC.omega_small.low) == (math.pi / 3, math.pi / 3)
    assert FINAL_SINC.probability == 0.8
    assert [family.profile for family in FINAL_SINC.families.options] == ["sinc"]


def test_the_second_order_chain_has_the_published_order() -> None:
    recipe = second_order()
    first = ["Blur", "Resize", "Noise", "Jpeg", "VideoCompression"]
    assert names(recipe.strong) == [*first, "Blur", "Resize", "Noise", "Jpeg", "VideoCompression", "Shrink", "Blur"]
    assert recipe.weak == flashvideo().weak


def test_what_is_off_leaves_no_trace() -> None:
    recipe = second_order()
    off = {"Noise", "Jpeg", "VideoCompression"}
    assert {type(step).__name__ for step in flat(recipe.strong) if step.probability == 0} == off
    # Were the noise not off, its parameters would show.
    loud = tuple(
        replace(step, gaussian_sigma=Walk(99, 99), poisson_scale=Walk(99, 99)) if isinstance(step, Noise) else step
        for step in recipe.strong
    )
    assert torch.equal(run(recipe), run(replace(recipe, strong=loud)))


@pytest.mark.parametrize("option", ["noise", "jpeg", "video_compression"])
def test_each_option_changes_the_clip(option: str) -> None:
    plain, changed = run(second_order()), run(second_order(**{option: 1.0}))
    assert changed.shape == plain.shape
    assert 1e-3 < (plain - changed).abs().mean() < 0.5  # the same blurs and sizes, so it is still the same clip


def test_an_option_is_a_probability() -> None:
    with pytest.raises(InputError, match="the probability is 2; allowed"):
        second_order(jpeg=2)
