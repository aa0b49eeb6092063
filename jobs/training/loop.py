"""What every worker of a training run does: batches to losses to updates, with checkpoints and metrics on the way.

The part of the model is built from the recipe; nothing here knows which it is.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.experimental import tqdm_ray

from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.part import TrainedPart
from fv_ray.training.recipe import AnyRecipe, StageOneRecipe, VAERecipe
from fv_ray.training.stage_one_part import StageOnePart
from fv_ray.training.stage_two_part import StageTwoPart
from fv_ray.training.vae_part import VAEPart
from jobs.training.recipes import read_recipe
from jobs.training.record import RunRecord
from jobs.training.state import TrainingState, learning_rate
from jobs.training.stream import stream_batches

PROGRESS_FILE = "step.txt"
"""In a checkpoint: how many steps are done."""
PARTS_FOLDER = "parts"
"""In a checkpoint: from_pretrained folders of what was trained."""


@dataclass(frozen=True)
class Diverged:
    """Why a run stopped: a loss or a gradient that is no number."""

    step: int
    loss: float
    grad_norm: float
    ids: tuple[str, ...]


def train_worker(config: dict[str, Any]) -> None:
    """Ray Train's function: see `jobs.training.start` for what `config` holds."""
    recipe = read_recipe(config["recipe"])
    context = ray.train.get_context()
    rank, num_workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    torch.manual_seed(recipe.seed)  # of what is new in the part, as LoRA layers
    part = build_part(Path(config["checkpoint"]), recipe, device)
    state = TrainingState(part, recipe, device)
    first_step = _resume(state)
    record = RunRecord(config["run_url"], first_step) if rank == 0 else None
    bar = tqdm_ray.tqdm(desc=f"train {recipe.part}", total=recipe.num_steps) if rank == 0 else None
    if bar is not None:
        bar.update(first_step)
    batches = stream_batches(recipe, config["data"], first_step, rank, num_workers, config["num_loaders"])
    for batch in batches:
        started_s = time.monotonic()
        metrics = _step(state, part, recipe, batch.to(device), device)
        num_done = batch.step + 1
        if (failure := _failure(metrics, batch)) is not None:
            if record is not None:
                record.stop(failure)
            return
        if record is not None and bar is not None:
            metrics["step_s"] = time.monotonic() - started_s
            record.add(num_done, metrics, is_logged=num_done % recipe.log_every == 0 or num_done == recipe.num_steps)
            bar.update(1)
        if num_done % recipe.checkpoint_every == 0 or num_done == recipe.num_steps:
            if record is not None:
                record.flush()
            _checkpoint(state, part, num_done, rank)


def build_part(checkpoint: Path, recipe: AnyRecipe, device: torch.device) -> TrainedPart:
    """The part of the model that a recipe trains, from a checkpoint folder."""
    if isinstance(recipe, VAERecipe):
        return VAEPart(checkpoint, recipe, device)
    if isinstance(recipe, StageOneRecipe):
        return StageOnePart(checkpoint, recipe, device)
    return StageTwoPart(checkpoint, recipe, device)


def _step(
    state: TrainingState, part: TrainedPart, recipe: AnyRecipe, batch: Batch, device: torch.device
) -> dict[str, float]:
    """One update of the weights; what to log of it, averaged over the workers."""
    num_parts = min(recipe.accumulation_steps, len(batch))
    bounds = [len(batch) * index // num_parts for index in range(num_parts + 1)]
    sums: dict[str, torch.Tensor] = {}
    for index, (first, last) in enumerate(pairwise(bounds)):
        piece = batch.part(first, last)
        share = len(piece) / len(batch)
        draws = SampleDraws(recipe.seed, piece.step, piece.slots, piece.num_slots)
        is_last = index == num_parts - 1
        with _unsynchronised(state.module, is_last):
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                loss, parts = part.loss(state.module, piece, draws)
            torch.autograd.backward(loss * share)
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach().float() * share
    values = torch.stack(list(sums.values()))
    if dist.is_initialized():
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    metrics = dict(zip(sums, values.tolist(), strict=True))
    metrics["grad_norm"] = state.update(batch.step) if metrics["loss"] == metrics["loss"] else float("nan")
    return {**metrics, "learning_rate": learning_rate(recipe, batch.step)}


def _unsynchronised(module: torch.nn.Module, is_last: bool) -> Any:  # noqa: ANN401
    """DDP adds the workers' gradients once a step; FSDP2 does it for every piece."""
    no_sync = getattr(module, "no_sync", None)
    return nullcontext() if is_last or no_sync is None else no_sync()


def _failure(metrics: dict[str, float], batch: Batch) -> Diverged | None:
    """What went wrong, the same on every worker; ids are those of all workers."""
    limit = float("inf")
    if abs(metrics["loss"]) < limit and metrics["grad_norm"] < limit:
        return None
    ids: list[tuple[str, ...]] = [batch.ids]
    if dist.is_initialized():
        ids = [()] * dist.get_world_size()
        dist.all_gather_object(ids, batch.ids)
    return Diverged(batch.step + 1, metrics["loss"], metrics["grad_norm"], tuple(name for each in ids for name in each))


def _resume(state: TrainingState) -> int:
    """Read the last checkpoint back, if there is one; how many steps are done."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state.load(Path(folder))
        return int((Path(folder) / PROGRESS_FILE).read_text())


def _checkpoint(state: TrainingState, part: TrainedPart, num_done: int, rank: int) -> None:
    """Save and tell Ray Train, which moves the workers' folders to the run's, as one."""
    weights = state.weights()
    with TemporaryDirectory() as folder:
        state.save(Path(folder))
        if rank == 0:
            parts = Path(folder) / PARTS_FOLDER
            parts.mkdir()
            part.save(parts, weights)
            (Path(folder) / PROGRESS_FILE).write_text(str(num_done))
        ray.train.report(
            {"step": num_done},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{num_done:08d}",
        )
