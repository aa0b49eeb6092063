"""What a run's next step depends on: weights, averaged weights, optimiser, and how they are saved and read back.

Saved by torch's distributed checkpoint, each worker its share, so that another number of workers can go on.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from fv_ray.training.part import TrainedPart
from fv_ray.training.recipe import AnyRecipe
from jobs.training.matrix_muon import MatrixMuon

STATE_FOLDER = "state"


class TrainingState:
    """One worker's share of a run's state."""

    def __init__(self, part: TrainedPart, recipe: AnyRecipe, device: torch.device) -> None:
        """Wrap the part's module for the recipe's strategy; on every worker at once."""
        self._part = part
        self._recipe = recipe
        if recipe.gradient_checkpointing:
            _recompute(part)
        kept = set(part.module.state_dict())
        self._measured = [each for name, each in part.module.named_buffers() if name in kept]
        self.module = _wrapped(part, recipe, device)
        self.trained = {name: each for name, each in part.module.named_parameters() if each.requires_grad}
        matrices = _matrices(part.module, self.trained) if recipe.optimizer == "muon" else {}
        self.muon = MatrixMuon(matrices, recipe.learning_rate, recipe.weight_decay) if matrices else None
        self.optimizer = torch.optim.AdamW(
            [each for name, each in self.trained.items() if name not in matrices],
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
        )
        self._average = {name: each.detach().clone() for name, each in self.trained.items()} if recipe.ema_decay else {}

    def update(self, step: int) -> float:
        """Clip the gradients, update the weights and their average; the gradients' norm before.

        A norm that is not finite updates nothing.
        """
        self._share_measured()
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self._recipe.max_grad_norm)
        total = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        if total < float("inf"):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self._recipe, step)
            self.optimizer.step()
            if self.muon is not None:
                self.muon.step(learning_rate(self._recipe, step))
            if self._average:
                averages, values = _local(self._average.values()), _local(self.trained.values())
                # Early on, the average of what there is: the first steps are not to be remembered for long.
                decay = min(self._recipe.ema_decay, (1 + step) / (10 + step))
                with torch.no_grad():
                    torch._foreach_lerp_(averages, values, 1 - decay)
        self.module.zero_grad(set_to_none=True)
        return total

    def save(self, folder: Path) -> None:
        """Write this worker's share; on every worker at once."""
        save(self._state(), checkpoint_id=str(folder / STATE_FOLDER))

    def load(self, folder: Path) -> None:
        """Read this worker's share; on every worker at once."""
        state = self._state()
        load(state, checkpoint_id=str(folder / STATE_FOLDER))
        set_state_dict(
            self.module, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )
        for kept, read in ((self._average, state["average"]), (self._momenta(), state["momenta"])):
            for name, tensor in kept.items():
                tensor.copy_(read[name])

    def weights(self) -> dict[str, Tensor]:
        """The part's whole weights, averaged where the recipe says so, on the CPU; on every worker at once."""
        averages = {id(self.trained[name]): average for name, average in self._average.items()}
        own: dict[str, Tensor] = self._part.module.state_dict()
        for name, each in self._part.module.named_parameters(remove_duplicate=False):  # T5 has a weight of two names
            own[name] = averages.get(id(each), own[name])
        return {name: _whole(tensor).detach().cpu().clone() for name, tensor in own.items()}

    def _share_measured(self) -> None:
        """What each worker measured of its own samples becomes what one worker measures of all."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            for each in self._measured:
                dist.all_reduce(each)
                each.div_(dist.get_world_size())

    def _state(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self.module, self.optimizer)
        return {"model": model, "optimizer": optimizer, "average": dict(self._average), "momenta": self._momenta()}

    def _momenta(self) -> dict[str, Tensor]:
        return {} if self.muon is None else dict(self.muon.momenta)


def learning_rate(recipe: AnyRecipe, step: int) -> float:
    """Of step `step`, from 0."""
    rate = recipe.learning_rate
    if step < recipe.warmup_steps:
        return rate * (step + 1) / recipe.warmup_steps
    left = recipe.num_steps - step
    if left <= recipe.decay_steps:
        return rate * max(0.01, left / recipe.decay_steps)
    return rate


def _matrices(module: nn.Module, trained: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """What Muon takes: not vectors, and not tables of embeddings, whose rows are vectors of their own."""
    tables = {id(each.weight) for each in module.modules() if isinstance(each, nn.Embedding)}
    return {name: each for name, each in trained.items() if each.ndim > 1 and id(each) not in tables}


def _wrapped(part: TrainedPart, recipe: AnyRecipe, device: torch.device) -> nn.Module:
    if not dist.is_initialized():
        return part.module
    if recipe.strategy == "ddp":
        return DistributedDataParallel(part.module, device_ids=[device] if device.type == "cuda" else None)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    half = recipe.precision == "bfloat16"
    policy = MixedPrecisionPolicy()
    if half:  # inputs stay float32: bfloat16 would tell the noise level 676 for 675
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in part.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(part.module, mesh=mesh, mp_policy=policy)
    return part.module


def _recompute(part: TrainedPart) -> None:
    for module in part.module.modules():
        enable = getattr(module, "enable_gradient_checkpointing", None)
        if callable(enable):
            enable()


def _local(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [each.to_local() if isinstance(each, DTensor) else each for each in tensors]


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
