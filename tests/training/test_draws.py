"""Draws that the seed, the step and the sample decide, and nothing else."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fv_ray.degradations.latent import NoiseLevels
from fv_ray.training.draws import SampleDraws

NUM_SLOTS = 8


def drawn(slots: Sequence[int], seed: int = 3, step: int = 7) -> list[Tensor]:
    draws = SampleDraws(seed, step, slots, NUM_SLOTS)
    return [
        draws.noise((len(slots), 2, 3)),
        draws.timesteps(),
        draws.times(1.0),
        draws.noise_levels(NoiseLevels(400, 719)),
        draws.kept(0.5),
        draws.noise((len(slots), 4)),
    ]


@pytest.mark.parametrize("num_workers", [2, 4, 8])
def test_workers_draw_together_what_one_draws_alone(num_workers: int) -> None:
    share = NUM_SLOTS // num_workers
    parts = [drawn(range(first, first + share)) for first in range(0, NUM_SLOTS, share)]
    for together, alone in zip(zip(*parts, strict=True), drawn(range(NUM_SLOTS)), strict=True):
        assert torch.equal(torch.cat(together), alone)


def test_another_seed_or_step_draws_otherwise() -> None:
    noise = drawn(range(NUM_SLOTS))[0]
    assert not torch.equal(noise, drawn(range(NUM_SLOTS), seed=4)[0])
    assert not torch.equal(noise, drawn(range(NUM_SLOTS), step=8)[0])


def test_every_sample_has_its_own_part_of_the_timesteps_and_of_the_levels() -> None:
    for step in range(20):
        _, timesteps, _, levels, _, _ = drawn(range(NUM_SLOTS), step=step)
        assert (timesteps * NUM_SLOTS // 1000).tolist() == list(range(NUM_SLOTS))
        assert ((levels - 400) * NUM_SLOTS // 320).tolist() == list(range(NUM_SLOTS))


def test_text_is_kept_as_often_as_it_is_not_dropped() -> None:
    kept = [SampleDraws(0, step, range(NUM_SLOTS), NUM_SLOTS).kept(0.25) for step in range(500)]
    assert torch.cat(kept).float().mean().item() == pytest.approx(0.75, abs=0.03)  # 4 standard deviations
