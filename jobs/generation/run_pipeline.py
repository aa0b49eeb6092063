"""What is still to do through both stages on Ray Data: each stage a pool of actors, that grows and shrinks by itself.

A block is one item, so that a task ends with it and is the unit that Ray repeats; rows come back as they are done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy, Dataset

from jobs.generation.make_stages import Worker


@dataclass(frozen=True)
class Pool:
    """The actors of a stage."""

    worker_class: Callable[[Worker, ActorHandle], Any]
    """`StageOneWorker` or `StageTwoWorker`, or what stands for one in a measurement."""
    min_workers: int
    max_workers: int | None
    """None: as many as the cluster has room for."""
    num_cpus: float
    """Of each."""
    num_gpus: float

    def options(self, worker: Worker, board: ActorHandle) -> dict[str, Any]:
        """As Ray Data takes them."""
        return {
            "fn_constructor_kwargs": {"worker": worker, "board": board},
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus or None,
            "compute": ActorPoolStrategy(
                min_size=self.min_workers, max_size=self.max_workers, max_tasks_in_flight_per_actor=2
            ),
        }


@dataclass(frozen=True)
class Pipeline:
    """What is to be done, and by whom."""

    previews: Sequence[dict[str, str]]
    """Items of stage one."""
    halves: Sequence[dict[str, str]]
    """Items of stage two whose preview is there already."""
    worker: Worker
    stage_one: Pool
    stage_two: Pool


def run_pipeline(pipeline: Pipeline, board: ActorHandle) -> Generator[dict[str, str], None, None]:
    """Key and status of each row, as they are done.

    Raises:
        RayError: Ray gave up, or a worker raised.
    """
    one, two = pipeline.stage_one, pipeline.stage_two
    sources = [_blocks(pipeline.halves)] if pipeline.halves else []
    if pipeline.previews:
        items = _blocks(pipeline.previews)
        sources.insert(0, items.flat_map(one.worker_class, **one.options(pipeline.worker, board)))
    dataset = sources[0].union(*sources[1:]) if sources[1:] else sources[0]
    if pipeline.worker.makes_videos:
        dataset = dataset.map(two.worker_class, **two.options(pipeline.worker, board))
    yield from dataset.iter_rows()


def _blocks(items: Sequence[dict[str, str]]) -> Dataset:
    """A block an item, from the driver.

    Where a task upstream yields more blocks than the pool takes, Ray Data's executor spins on a CPU until there is
    room.
    """
    return ray.data.from_items(list(items), override_num_blocks=len(items))
