"""Where every random draw of a request comes from."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from fv_ray.errors import NoiseError


class NoiseSource(Protocol):
    """Gives standard normal noise; each call is one draw."""

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Return a float32 tensor of `shape` on the CPU."""
        ...


class SeededNoise:
    """Draws from a seeded CPU generator, so that a seed means the same video on every device."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator("cpu").manual_seed(seed)

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Return a fresh draw of `shape`."""
        return torch.randn(tuple(shape), generator=self._generator, dtype=torch.float32)


class RecordedNoise:
    """Replays recorded draws in order.

    Raises:
        NoiseError: when a draw of another shape is asked for, or more draws than were recorded.
    """

    def __init__(self, draws: Sequence[Tensor]) -> None:
        self._draws = [torch.as_tensor(draw) for draw in draws]
        self._num_used = 0

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Return the next recorded draw."""
        if self._num_used == len(self._draws):
            raise NoiseError(
                f"all {len(self._draws)} recorded draws are used and one more of shape {tuple(shape)} was asked for; "
                "record one draw for each step that needs one"
            )
        draw = self._draws[self._num_used]
        if tuple(draw.shape) != tuple(shape):
            raise NoiseError(
                f"recorded draw {self._num_used} has shape {tuple(draw.shape)} but {tuple(shape)} was asked for; "
                "record the draws in the order and shapes in which they are used"
            )
        self._num_used += 1
        return draw.to("cpu", torch.float32)


class BatchedNoise:
    """Stacks one draw of each sample's own source, so that a batch draws what its samples would draw alone."""

    def __init__(self, sources: Sequence[NoiseSource]) -> None:
        self._sources = list(sources)

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Return a draw of `shape`, whose first size is the number of sources."""
        if shape[0] != len(self._sources):
            raise NoiseError(
                f"a batch of {shape[0]} was asked of {len(self._sources)} noise sources; give one a sample"
            )
        return torch.cat([source((1, *shape[1:])) for source in self._sources])
