"""Latent degradation: variance-preserving, per sample, at the published strength; in training over its whole range."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fv_ray.degradations.latent import NoiseLevels, degrade_latents, draw_noise_levels, paper_noise_levels
from fv_ray.errors import InputError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_unit_variance_is_kept() -> None:
    latents, noise = torch.randn(2, 4, 16, 32, 32), torch.randn(2, 4, 16, 32, 32)
    degraded = degrade_latents(latents, noise, torch.tensor([675, 100]))
    assert degraded.std().item() == pytest.approx(1, abs=0.01)


def test_each_sample_has_its_own_level() -> None:
    ones, zeros = torch.ones(3, 1, 1, 1, 1), torch.zeros(3, 1, 1, 1, 1)
    kept = degrade_latents(ones, zeros, torch.tensor([400, 675, 999])).flatten()
    torch.testing.assert_close(kept, torch.tensor([0.62601, 0.26396, 0.0]), atol=1e-5, rtol=0)
    added = degrade_latents(zeros, ones, torch.tensor([400, 675, 999])).flatten()
    torch.testing.assert_close(added, torch.tensor([0.77981, 0.96453, 1.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("phase", "iteration", "levels"),
    [
        (1, 0, (600, 900)),
        (2, 29_999, (600, 900)),
        (3, 999, (600, 900)),
        (3, 1000, (650, 750)),
        (4, 0, (650, 750)),
    ],
)
def test_the_published_curriculum(phase: int, iteration: int, levels: tuple[int, int]) -> None:
    assert paper_noise_levels(phase, iteration) == NoiseLevels(*levels)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(0, 999), st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31))
def test_levels_cover_the_range_evenly_over_all_ranks(
    one: int, other: int, batch_size: int, world_size: int, seed: int
) -> None:
    levels = NoiseLevels(min(one, other), max(one, other))
    drawn = torch.cat(
        [
            draw_noise_levels(levels, batch_size, seeded(seed + rank), rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
    )
    assert drawn.dtype == torch.int64
    assert levels.low <= drawn.min()
    assert drawn.max() <= levels.high
    # Sample i of all lies in part i of the range.
    part = (levels.high + 1 - levels.low) / len(drawn)
    parts = (drawn + 1 - levels.low).double() / part
    order = torch.arange(len(drawn))
    assert (parts > order - 1e-6).all()
    assert (parts - 1 / part < order + 1 + 1e-6).all()


def test_every_level_is_drawn_as_often_as_the_others() -> None:
    generator = seeded(0)
    drawn = torch.cat([draw_noise_levels(NoiseLevels(650, 654), 2, generator) for _ in range(500)])
    counts = drawn.bincount()[650:]
    assert counts.shape == (5,)
    assert counts.min() > 150


def test_drawn_levels_repeat_with_the_seed_and_can_be_used() -> None:
    levels = [draw_noise_levels(NoiseLevels(0, 999), 3, seeded(7)) for _ in range(2)]
    assert torch.equal(*levels)
    assert degrade_latents(torch.ones(3, 1, 1, 1, 1), torch.zeros(3, 1, 1, 1, 1), levels[0]).shape == (3, 1, 1, 1, 1)


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (700, 600), (0, 1000)])
def test_levels_outside_the_table_are_refused(low: int, high: int) -> None:
    with pytest.raises(InputError, match=rf"the noise levels are {low} to {high}; allowed are 0 to 999 .*: "):
        NoiseLevels(low, high)


def test_places_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match=r"iteration 0 of phase 5; allowed are .* phases 1 to 4: "):
        paper_noise_levels(5, 0)
    with pytest.raises(InputError, match=r"iteration -1 of phase 3; allowed"):
        paper_noise_levels(3, -1)
    with pytest.raises(InputError, match=r"rank 2 of 2 with a batch of 1; allowed are .*: correct them"):
        draw_noise_levels(NoiseLevels(600, 900), 1, seeded(0), rank=2, world_size=2)
    with pytest.raises(InputError, match="with a batch of 0"):
        draw_noise_levels(NoiseLevels(600, 900), 0, seeded(0))
