"""What a training step is given."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fv_ray.errors import InputError


@dataclass(frozen=True, eq=False)
class Batch:
    """A worker's samples of one step."""

    step: int
    """From 0."""
    slots: tuple[int, ...]
    """Which of the step's samples these are."""
    num_slots: int
    """Samples of the step over all workers."""
    ids: tuple[str, ...]
    """Where each sample comes from, for people."""
    captions: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    """Of these, what the data set holds, each with the samples along its first axis:

    frames            uint8 (B, F, H, W, 3)
    degraded_frames   float16 (B, F, H, W, 3), -1..1
    latents           (B, F, C, h, w), unscaled
    degraded_latents  likewise
    prompt_embeds     (B, L, D)
    """

    def __len__(self) -> int:
        return len(self.slots)

    def part(self, first: int, last: int) -> "Batch":
        """Samples `first` to `last`, the latter not included."""
        return replace(
            self,
            slots=self.slots[first:last],
            ids=self.ids[first:last],
            captions=self.captions[first:last],
            tensors={name: tensor[first:last] for name, tensor in self.tensors.items()},
        )

    def to(self, device: torch.device) -> "Batch":
        """The same with its tensors on `device`."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        return replace(self, tensors=moved)

    def need(self, name: str, what_to_do: str) -> Tensor:
        """One of the tensors.

        Raises:
            InputError: the data set does not hold it.
        """
        if name not in self.tensors:
            raise InputError(f"the data holds {', '.join(self.tensors)} and no {name}; {what_to_do}")
        return self.tensors[name]

    @property
    def clips(self) -> Tensor:
        """The clips, float (B, C, F, H, W), -1..1."""
        frames = self.need("frames", "give clips that prepare_clips made")
        return frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
