"""Noise sources: repeatable, replayable, and loud where a recording does not fit."""

import pytest
import torch

from fv_ray.errors import NoiseError
from fv_ray.noise import BatchedNoise, RecordedNoise, SeededNoise


def test_a_seed_repeats_and_draws_differ() -> None:
    source, again = SeededNoise(7), SeededNoise(7)
    first, second = source((2, 3)), source((2, 3))
    assert torch.equal(first, again((2, 3)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, SeededNoise(8)((2, 3)))


def test_largest_seed_is_taken() -> None:
    assert SeededNoise(2**63 - 1)((1,)).isfinite()


def test_seeded_noise_is_standard_normal() -> None:
    draw = SeededNoise(0)((100_000,))
    assert abs(draw.mean()) < 0.02
    assert abs(draw.std() - 1) < 0.02


def test_recording_replays_in_order() -> None:
    draws = [torch.randn(2), torch.randn(3)]
    source = RecordedNoise(draws)
    assert torch.equal(source((2,)), draws[0])
    assert torch.equal(source((3,)), draws[1])


def test_recording_of_another_shape() -> None:
    with pytest.raises(NoiseError, match=r"recorded draw 0 has shape \(2,\) but \(3,\) was asked for"):
        RecordedNoise([torch.randn(2)])((3,))


def test_recording_runs_dry() -> None:
    source = RecordedNoise([torch.randn(2)])
    source((2,))
    with pytest.raises(NoiseError, match="all 1 recorded draws are used"):
        source((2,))


def test_a_batch_draws_what_its_samples_draw_alone() -> None:
    batch = BatchedNoise([SeededNoise(1), SeededNoise(2)])((2, 4))
    assert torch.equal(batch, torch.cat([SeededNoise(1)((1, 4)), SeededNoise(2)((1, 4))]))


def test_a_batch_of_another_size() -> None:
    with pytest.raises(NoiseError, match="a batch of 3 was asked of 1 noise sources"):
        BatchedNoise([SeededNoise(1)])((3, 4))
