"""What a run has still to do, done: connects to Ray, places the actors, and drives one launch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ray

from fv_ray.artifact_store import Stage
from fv_ray.errors import InputError, StorageError
from jobs.connect_ray import connected
from jobs.generation.begin_run import settle_dtype
from jobs.generation.drive_launch import Driven, Signals, drive
from jobs.generation.make_stages import StageOneWorker, StageTwoWorker, Worker
from jobs.generation.open_run import OpenRun
from jobs.generation.plan_items import Plan
from jobs.generation.report_progress import ProgressReport
from jobs.generation.run_pipeline import Pipeline, Pool
from jobs.generation.watch_rows import start_board


@dataclass(frozen=True)
class Workers:
    """How many actors of a stage there are: `2`, or `1:8` from one to eight."""

    least: int = 1
    most: int | None = None
    """None: as many as the cluster has room for."""
    num_gpus: float | None = None
    """Of each. None: one, or half of it where the cluster has a single one; none on the CPU."""

    @classmethod
    def read(cls, option: str, text: str, num_gpus: float | None) -> Workers:
        """Of an option's value.

        Raises:
            InputError: it is not understood.
        """
        match = re.fullmatch(r"([1-9][0-9]{0,4})(?::([1-9][0-9]{0,4})?)?", text)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise InputError(
                f"{option} is {text!r}; allowed are N, LEAST: and LEAST:MOST, from 1: write 1:8 for one to eight"
            )
        most = match[2] or (None if ":" in text else match[1])
        return cls(int(match[1]), None if most is None else int(most), num_gpus)


@dataclass(frozen=True)
class Launch:
    """How one launch works; nothing here decides a result."""

    device: Literal["cpu", "cuda"] | None
    """None: cuda where the cluster has GPUs."""
    stage_one: Workers
    stage_two: Workers
    num_cpus: float
    """Of each actor."""
    stall_s: float
    drain_s: float
    max_error_rate: float
    """Of all rows; one more ends the launch."""


def make_rows(run: OpenRun, plan: Plan, launch: Launch, signals: Signals) -> Driven:
    """Do what is planned, on the cluster that RAY_ADDRESS names or on one of our own.

    Raises:
        FvRayError: an actor cannot begin, as of a checkpoint that is broken.
        RayGaveUp: it cannot be reached, or cannot go on.
        StorageError: previews of an earlier run are gone, or the store refuses.
    """
    if plan.previews and run.wanted.from_previews is not None:
        told = f"{len(plan.previews)} previews of {run.wanted.from_previews} are not there any more"
        raise StorageError(f"{told}; they must be as the manifest says: make that run again")
    makes_videos = run.wanted.asking.makes == "videos"
    totals: dict[Stage, int] = {"stage_one": len(plan.previews)} if plan.previews else {}
    if makes_videos:
        totals["stage_two"] = plan.num_rows
    with connected(num_cpus=launch.stage_one.least + launch.stage_two.least):
        pipeline = _pipeline(run, plan, launch, makes_videos=makes_videos)
        with ProgressReport(totals) as report:
            return drive(
                pipeline,
                start_board(),
                report,
                signals,
                most_failures=launch.max_error_rate * run.rows.num_rows - plan.num_failed,
                drain_s=launch.drain_s,
            )


def _pipeline(run: OpenRun, plan: Plan, launch: Launch, *, makes_videos: bool) -> Pipeline:
    num_gpus = ray.cluster_resources().get("GPU", 0)
    device = launch.device or ("cuda" if num_gpus else "cpu")
    worker = Worker(
        checkpoint=str(run.wanted.checkpoint.resolve()),
        store_url=_absolute(run.wanted.output),
        previews_url=_absolute(run.wanted.from_previews or run.wanted.output),
        device=device,
        dtype=run.wanted.dtype or settle_dtype(run.blobs, device),
        attention_backend=run.wanted.attention_backend,
        salt=run.wanted.asking.salt,
        stall_s=launch.stall_s,
        makes_videos=makes_videos,
    )
    is_shared = device == "cuda" and num_gpus <= 1 and makes_videos
    share = 0.0 if device == "cpu" else 0.5 if is_shared else 1.0
    pools = (
        make_pool(stage, wanted, launch.num_cpus, share)
        for stage, wanted in ((StageOneWorker, launch.stage_one), (StageTwoWorker, launch.stage_two))
    )
    return Pipeline(plan.previews, plan.halves, worker, *pools)


def make_pool(stage: type[StageOneWorker | StageTwoWorker], wanted: Workers, num_cpus: float, share: float) -> Pool:
    """A stage's actors.

    Args:
        stage: of them.
        wanted: how many there may be.
        num_cpus: of each.
        share: of a GPU, where nothing else is wanted. The half of the only one is for a single actor: two of one stage
            would have too little memory as soon as the other stage has none.
    """
    is_half = wanted.num_gpus is None and 0 < share < 1
    most = wanted.least if is_half and wanted.most is None else wanted.most
    return Pool(stage, wanted.least, most, num_cpus, share if wanted.num_gpus is None else wanted.num_gpus)


def _absolute(url: str) -> str:
    """For actors, whose working directory is another one."""
    return url if "://" in url else str(Path(url).expanduser().absolute())
