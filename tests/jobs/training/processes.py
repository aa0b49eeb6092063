"""A few steps of training in processes of our own: no Ray, one thread each, gloo between them.

The weights are float64. Workers add a gradient's terms in another order than one worker does; in float32 AdamW makes
whole steps of the roundings of gradients that are near zero, and an L1 loss has other signs where it is near zero. In
float64 what is left is far below what a mistake makes.
"""

import multiprocessing
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from jobs.training.loop import build_part, take_step
from jobs.training.recipes import read_recipe
from jobs.training.state import TrainingState
from jobs.training.stream import load_batch, to_batch

CPU = torch.device("cpu")


def train_steps(folder: Path, num_workers: int, runs: list[dict[str, Any]]) -> None:
    """Each of `runs`, one after the other, by as many processes.

    A run has: name, recipe (as JSON), data, checkpoint, steps (first, last), what it saves on the way (after so many
    steps, under this name), and what it goes on from.
    """
    if num_workers == 1:
        _train(0, 1, folder, runs)
        return
    starter = multiprocessing.get_context("spawn").Process(target=_start, args=(num_workers, folder, runs))
    starter.start()
    starter.join()
    assert starter.exitcode == 0


def _start(num_workers: int, folder: Path, runs: list[dict[str, Any]]) -> None:
    """The workers fork from a process of their own: it has no threads, and imports once what takes seconds."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_train, args=(rank, num_workers, folder, runs)) for rank in range(num_workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * num_workers


def _train(rank: int, num_workers: int, folder: Path, runs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    # Ray Train makes a group of one worker too.
    dist.init_process_group("gloo", f"file://{folder}/{runs[0]['name']}_meeting", rank=rank, world_size=num_workers)
    try:
        for run in runs:
            _train_one(rank, num_workers, folder, **run)
    finally:
        dist.destroy_process_group()


def _copied(state: TrainingState) -> dict[str, torch.Tensor]:
    """This worker's share of the trained weights."""
    return {
        name: (each.to_local() if isinstance(each, DTensor) else each).detach().clone()
        for name, each in state.trained.items()
    }


def _to_float64(module: nn.Module) -> None:
    """All but the losses, and what the module itself keeps, which the code makes float32 by name."""
    for each in module.children():
        each.double()
        for layer in each.modules():
            layer.register_forward_pre_hook(_in_float64, with_kwargs=True)


def _in_float64(_: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    def wide(value: Any) -> Any:
        return value.double() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value

    return tuple(map(wide, args)), {name: wide(value) for name, value in kwargs.items()}


def _train_one(
    rank: int,
    num_workers: int,
    folder: Path,
    *,
    name: str,
    recipe: dict[str, Any],
    data: dict[str, str],
    checkpoint: Path,
    steps: tuple[int, int],
    saves: dict[int, str] | None = None,
    after: str | None = None,
) -> None:
    chosen = read_recipe(recipe)
    part = build_part(checkpoint, chosen, CPU)
    _to_float64(part.module)
    state = TrainingState(part, chosen, CPU)
    if after is not None:
        state.load(folder / after)
    metrics, trained = [], [_copied(state)]
    for step in range(*steps):
        batch = to_batch(load_batch(chosen, data, step, rank, num_workers))
        metrics.append(take_step(state, part, chosen, batch))
        trained.append(_copied(state))
        if saves is not None and step + 1 in saves:
            state.save(folder / saves[step + 1])
    weights = state.weights()
    if rank == 0:
        torch.save({"metrics": metrics, "trained": trained, "weights": weights}, folder / f"{name}.pt")
        (folder / name / "parts").mkdir(parents=True)
        part.save(folder / name / "parts", weights)
