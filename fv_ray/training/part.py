"""What the training loop needs to know of a part of the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws


class TrainedPart(Protocol):
    """A part of the model with its loss; the loop does the rest."""

    @property
    def module(self) -> nn.Module:
        """Holds what is trained and nothing that is not needed for it; the loop wraps it before `loss` sees it."""
        ...

    @property
    def blocks(self) -> list[nn.Module]:
        """What FSDP2 shards and gradient checkpointing recomputes one by one."""
        ...

    def loss(self, module: nn.Module, batch: Batch, draws: SampleDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts to be logged."""
        ...

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write from_pretrained folders, one for each trained part, named as in a checkpoint folder.

        Args:
            folder: exists and is empty.
            weights: of `module`, by its names.
        """
        ...


def build_again(model: Any, weights: Mapping[str, Tensor], prefix: str) -> Any:  # noqa: ANN401
    """A diffusers model of the same configuration that holds the weights under `prefix`, without its prefix."""
    with torch.device("meta"):
        again = type(model)(**model.config)
    own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    again.load_state_dict(own, assign=True)
    return again
