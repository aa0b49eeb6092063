"""Every random draw of a training step, decided by the seed, the step and the sample.

So a resumed run draws what an uninterrupted one would have, and any number of workers draw the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fv_ray.degradations.latent import NoiseLevels, draw_noise_levels
from fv_ray.training.objective import draw_times, draw_timesteps
from fv_ray.training.procedural.draws import stable_hash


class SampleDraws:
    """The draws of a worker's samples of one step; each call is one draw of each sample, on the CPU."""

    def __init__(self, seed: int, step: int, slots: Sequence[int], num_slots: int) -> None:
        """Begin.

        Args:
            seed: of the run.
            step: from 0.
            slots: which of the step's samples these are.
            num_slots: samples of the step over all workers.
        """
        self._slots = list(slots)
        self._num_slots = num_slots
        self._generators = [
            torch.Generator("cpu").manual_seed(stable_hash("fv-ray/training", seed, step, slot)) for slot in slots
        ]

    def noise(self, shape: Sequence[int]) -> Tensor:
        """Standard normal, of `shape`, whose first size is the number of samples."""
        return torch.stack([torch.randn(tuple(shape[1:]), generator=each) for each in self._generators])

    def timesteps(self) -> Tensor:
        """Stage one's, stratified over the step's samples."""
        return torch.cat([draw_timesteps(1, each, slot, self._num_slots) for slot, each in self._pairs()])

    def times(self, shift: float) -> Tensor:
        """Stage two's t in [0, 1)."""
        return torch.cat([draw_times(1, each, shift) for each in self._generators])

    def noise_levels(self, levels: NoiseLevels) -> Tensor:
        """Of the latent degradation, stratified over the step's samples."""
        return torch.cat(
            [draw_noise_levels(levels, 1, each, rank=slot, world_size=self._num_slots) for slot, each in self._pairs()]
        )

    def kept(self, dropout: float) -> Tensor:
        """Which samples keep their text, (B,) booleans."""
        return torch.cat([torch.rand(1, generator=each) >= dropout for each in self._generators])

    def _pairs(self) -> list[tuple[int, torch.Generator]]:
        return list(zip(self._slots, self._generators, strict=True))
