"""A few steps of training in processes of our own: no Ray, one thread each, gloo between them."""

import multiprocessing
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jobs.training.loop import build_part, take_step
from jobs.training.recipes import read_recipe
from jobs.training.state import TrainingState
from jobs.training.stream import load_batch, to_batch

CPU = torch.device("cpu")


def train_steps(folder: Path, num_workers: int, runs: list[dict[str, Any]]) -> None:
    """Each of `runs`, one after the other, by as many processes.

    A run has: name, recipe (as JSON), data, checkpoint, steps (first, last), and from which run it goes on.
    """
    if num_workers == 1:
        _train(0, 1, folder, runs)
        return
    context = multiprocessing.get_context("spawn")
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
    after: str | None = None,
) -> None:
    chosen = read_recipe(recipe)
    part = build_part(checkpoint, chosen, CPU)
    state = TrainingState(part, chosen, CPU)
    if after is not None:
        state.load(folder / after)
    metrics = []
    for step in range(*steps):
        batch = to_batch(load_batch(chosen, data, step, rank, num_workers))
        metrics.append(take_step(state, part, chosen, batch))
    state.save(folder / name)
    weights = state.weights()
    if rank == 0:
        torch.save({"metrics": metrics, "weights": weights}, folder / f"{name}.pt")
        (folder / name / "parts").mkdir()
        part.save(folder / name / "parts", weights)
