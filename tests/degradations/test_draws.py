"""Draws: walks stay in their range and take short steps, choices keep their chances, parts disturb no others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fv_ray.degradations.draws import (
    Choice,
    Walk,
    check_probability,
    check_within,
    draw_chance,
    draw_choice,
    draw_generator,
    draw_order,
    draw_walk,
    evenly,
)
from fv_ray.errors import InputError

finite = st.floats(-1e3, 1e3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(finite, finite, st.floats(0, 10), st.integers(1, 12), st.integers(0, 2**31))
def test_a_walk_stays_in_its_range_and_takes_short_steps(
    one: float, other: float, step: float, num_frames: int, seed: int
) -> None:
    walk = Walk(min(one, other), max(one, other), step)
    values = draw_walk(walk, num_frames, seeded(seed))
    assert values.shape == (num_frames,)
    assert values.min() >= walk.low - 1e-9
    assert values.max() <= walk.high + 1e-9
    assert (values.diff().abs() <= step + 1e-9).all()


def test_a_walk_moves_both_ways_and_starts_anywhere() -> None:
    values = draw_walk(Walk(0, 1, 0.01), 100, seeded())
    assert values.diff().min() < 0 < values.diff().max()
    starts = torch.cat([draw_walk(Walk(0, 1), 1, seeded(seed)) for seed in range(200)])
    assert starts.histc(4, 0, 1).min() > 25


def test_a_walk_without_a_step_keeps_its_value() -> None:
    assert draw_walk(Walk(0, 1), 5, seeded()).unique().numel() == 1


def test_choices_keep_their_chances() -> None:
    generator = seeded()
    drawn = [draw_choice(Choice(("a", "b", "never"), (0.75, 0.25, 0.0)), generator) for _ in range(400)]
    assert drawn.count("never") == 0
    assert drawn.count("a") == pytest.approx(300, abs=40)
    chances = [draw_chance(0.3, generator) for _ in range(400)]
    assert sum(chances) == pytest.approx(120, abs=40)
    assert not any(draw_chance(0, generator) for _ in range(50))
    assert all(draw_chance(1, generator) for _ in range(50))


def test_an_order_is_a_permutation() -> None:
    orders = {tuple(draw_order(3, seeded(seed))) for seed in range(60)}
    assert orders == {(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}


def test_what_a_part_draws_does_not_disturb_the_next() -> None:
    quiet, busy = seeded(), seeded()
    draw_generator(quiet)
    torch.randn(100, generator=draw_generator(busy))
    assert torch.equal(torch.rand(3, generator=quiet), torch.rand(3, generator=busy))
    assert draw_generator(quiet).initial_seed() != draw_generator(quiet).initial_seed()


@pytest.mark.parametrize(("low", "high", "step"), [(2, 1, 0), (0, float("nan"), 0), (0, float("inf"), 0), (0, 1, -1)])
def test_an_empty_or_endless_range_is_refused(low: float, high: float, step: float) -> None:
    with pytest.raises(InputError, match=r"the (range|step) is .*; allowed are finite .*: "):
        Walk(low, high, step)


@pytest.mark.parametrize(("options", "probabilities"), [((), ()), (("a",), (0.5, 0.5)), (("a", "b"), (0.5, 0.6))])
def test_a_choice_that_does_not_add_up_is_refused(options: tuple[str, ...], probabilities: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"probabilities.*; allowed are .*: "):
        Choice(options, probabilities)


def test_no_choice_and_no_probability_are_refused() -> None:
    with pytest.raises(InputError, match="0 options have 0 probabilities; allowed are one or more"):
        evenly()
    with pytest.raises(InputError, match=r"the probability is 1\.5; allowed are 0 \(never\) to 1 \(always\): "):
        check_probability(1.5)
    with pytest.raises(InputError, match=r"the range of sigma is -1 to 2; allowed are numbers from 0 to inf: "):
        check_within("sigma", Walk(-1, 2), 0)
