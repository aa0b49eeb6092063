"""What a training step is given."""

import pytest
import torch

from fv_ray.errors import InputError
from fv_ray.training.batch import Batch


def batch() -> Batch:
    frames = torch.arange(3 * 1 * 2 * 2 * 3, dtype=torch.uint8).reshape(3, 1, 2, 2, 3)
    return Batch(5, (4, 5, 6), 8, ("a", "b", "c"), ("one", "two", "three"), {"frames": frames})


def test_a_part_is_the_same_samples_of_everything() -> None:
    whole, part = batch(), batch().part(1, 3)
    assert (part.step, part.num_slots) == (5, 8)
    assert (part.slots, part.ids, part.captions) == ((5, 6), ("b", "c"), ("two", "three"))
    torch.testing.assert_close(part.tensors["frames"], whole.tensors["frames"][1:3])
    assert len(part) == 2


def test_clips_are_channels_first_from_minus_one_to_one() -> None:
    frames = torch.tensor([0, 255, 0], dtype=torch.uint8).expand(1, 2, 4, 6, 3)
    clips = Batch(0, (0,), 1, ("a",), ("one",), {"frames": frames}).clips
    assert clips.shape == (1, 3, 2, 4, 6)
    assert [clips[0, channel].unique().item() for channel in range(3)] == [-1, 1, -1]


def test_what_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(InputError, match="the data holds frames and no latents; encode them"):
        batch().need("latents", "encode them")
