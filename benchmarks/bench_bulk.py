"""Times bulk generation against a plain loop over the two stages, and what a row costs beside its stages.

    python -m benchmarks.bench_bulk CHECKPOINT
    python -m benchmarks.bench_bulk --rows 0 --curve 100 1000 10000     # the second table alone: what rows cost

All in one run: the loop, then the same rows by the job with one worker a stage, then a few rows by the pattern of the
released script, which has one stage in memory at a time. The job's rate counts from its first video to its last one; at
best it is that of the slower stage. The second table has stages that do nothing: all of its time is the job's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

import psutil
import ray
import torch
from ray.actor import ActorHandle

from benchmarks import report
from fv_ray.artifact_store import StageRecord
from fv_ray.checkpoint import DEFAULT_MODEL, CheckpointInfo
from fv_ray.results import make_preview, make_video
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import OnProgress, VideoRequest
from fv_ray.video_io import Encoding
from fv_ray.works import Work, video_key
from jobs.connect_ray import connected
from jobs.generation.check_rows import Asking
from jobs.generation.finish_run import finish_run
from jobs.generation.make_stages import HALF, StageOneWorker, StageTwoWorker, Worker
from jobs.generation.open_run import OpenRun, Wanted, open_run
from jobs.generation.plan_items import plan_items
from jobs.generation.run_pipeline import Pipeline, Pool, run_pipeline
from jobs.generation.run_work import WorkRunner
from jobs.generation.watch_rows import start_board

HEAD = ("", "rows", "rows a minute", "of the loop's", "of the best")
COST_HEAD = (
    "rows", "s", "ms a row", "check", "plan", "make", "in stage one", "in stage two", "finish", "driver, MB",
    "object store, MB",
)  # fmt: skip
FILES = {"stage_one": ("preview.json", "preview.mp4", "preview.safetensors", "preview.webp", "preview_sheet.webp"),
         "stage_two": ("video.json", "video.mp4", "video.webp", "video_sheet.webp")}  # fmt: skip


class Nothing:
    """Stands for a stage's worker: a work is a few bytes; it is found, marked, committed and told as ever."""

    def __init__(self, stage: str, worker: Worker, board: ActorHandle) -> None:
        place = {"store_url": worker.store_url, "previews_url": worker.previews_url}
        self._stage = stage
        self._runner = WorkRunner(stage, **place, board=board, device_name="cpu", stall_s=60)  # type: ignore[arg-type]

    def run(self, key: str, work_key: str) -> tuple[StageRecord, float]:
        """The record, and the seconds until it was there."""
        start = time.perf_counter()

        def make(_given: Path, made: Path, _on_progress: OnProgress) -> None:
            for name in FILES[self._stage]:
                (made / name).write_bytes(work_key.encode())

        outcome = self._runner.run(key, lambda: Work(self._stage, work_key, make), [key])  # type: ignore[arg-type]
        assert outcome.record is not None, key
        return outcome.record, time.perf_counter() - start


class NothingOne:
    def __init__(self, worker: Worker, board: ActorHandle) -> None:
        self._nothing = Nothing("stage_one", worker, board)

    def __call__(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        record, seconds = self._nothing.run(item["preview_key"], item["preview_key"])
        told = {"status": HALF, "preview": record.model_dump_json(), "one_s": seconds}
        return [{**row, **told} for row in json.loads(item["rows"])]


class NothingTwo:
    def __init__(self, worker: Worker, board: ActorHandle) -> None:
        self._nothing = Nothing("stage_two", worker, board)
        self._digest = CheckpointInfo.read(worker.checkpoint).digest

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        request, preview = (
            VideoRequest.model_validate_json(row["request"]),
            StageRecord.model_validate_json(row["preview"]),
        )
        _, seconds = self._nothing.run(row["key"], video_key(request, preview, self._digest))
        return {"one_s": row["one_s"], "two_s": seconds}


def begin(folder: Path, checkpoint: Path, num_rows: int) -> OpenRun:
    """A run of new prompts."""
    folder.mkdir()
    (folder / "prompts.txt").write_text("".join(f"a red fox number {number} runs\n" for number in range(num_rows)))
    return open_run(Wanted(f"{folder}/prompts.txt", f"{folder}/out", checkpoint, Asking()), folder)


def pipeline_of(run: OpenRun, one: Any, two: Any) -> Pipeline:
    plan = plan_items(run.ends.of(run.rows), ())
    url = run.wanted.output
    worker = Worker(str(run.wanted.checkpoint), url, url, "cpu", None, "native", "", 600, makes_videos=True)
    pools = (Pool(worker_class, 1, 1, 1, 0) for worker_class in (one, two))
    return Pipeline(plan.previews, plan.halves, worker, *pools)


def by_loop(run: OpenRun) -> tuple[float, float]:
    """Median seconds of each stage, with its files."""
    one, two = (stage.from_pretrained(run.wanted.checkpoint) for stage in (StageOne, StageTwo))
    return _medians(run, lambda: one, lambda: two)


def by_moving(run: OpenRun) -> tuple[float, float]:
    """As above, where each stage is loaded for each row."""
    folder = run.wanted.checkpoint
    return _medians(run, lambda: StageOne.from_pretrained(folder), lambda: StageTwo.from_pretrained(folder))


def _medians(run: OpenRun, get_one: Any, get_two: Any) -> tuple[float, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for row in run.rows:
        assert row.request is not None
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            preview = make_preview(get_one(), row.request, Path(folder) / "made")
            between = time.perf_counter()
            make_video(get_two(), row.request, preview, Path(folder) / "made", Encoding())
            seconds[0].append(between - start)
            seconds[1].append(time.perf_counter() - between)
    return median(seconds[0]), median(seconds[1])


def by_job(run: OpenRun) -> tuple[float, float]:
    """Rows a second from the first one to the last, and seconds until the first one, with Ray's start."""
    start = time.perf_counter()
    with connected(num_cpus=2):
        ended = [
            time.perf_counter() for _ in run_pipeline(pipeline_of(run, StageOneWorker, StageTwoWorker), start_board())
        ]
    return (len(ended) - 1) / (ended[-1] - ended[0]), ended[0] - start


def rates(folder: Path, checkpoint: Path, num_rows: int, num_moved: int) -> tuple[list[list[str]], str]:
    one_s, two_s = by_loop(begin(folder / "loop", checkpoint, num_rows))
    job_rate, first_s = by_job(begin(folder / "job", checkpoint, num_rows))
    moved = sum(by_moving(begin(folder / "moved", checkpoint, num_moved)))
    loop, best = 1 / (one_s + two_s), 1 / max(one_s, two_s)
    found = [("loop", num_rows, loop), ("released script's pattern", num_moved, 1 / moved), ("job", num_rows, job_rate)]
    rows = [
        [name, str(number), f"{60 * rate:.1f}", f"{rate / loop:.2f}x", f"{rate / best:.2f}x"]
        for name, number, rate in found
    ]
    share = first_s / (first_s + num_rows / job_rate)
    stages = f"stage one {one_s:.2f} s, stage two {two_s:.2f} s a row"
    return rows, f"{stages}; the job's first row after {first_s:.1f} s, {share:.0%} of its time"


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Peaks of the driver's memory and of the object store, in MB."""
    peaks, is_over, process = {"driver": 0.0, "store": 0.0}, threading.Event(), psutil.Process()

    def watch() -> None:
        while not is_over.wait(0.5):
            peaks["driver"] = max(peaks["driver"], process.memory_info().rss / 2**20)
            used = ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]
            peaks["store"] = max(peaks["store"], used / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        is_over.set()
        thread.join()


def costs(folder: Path, checkpoint: Path, num_rows: int) -> list[str]:
    """What rows cost whose stages do nothing, in all and by part.

    `make` counts from the first row. Of it, a row of a real length meets only what its actors spend in each stage: Ray
    Data looks at its tasks ten times a second, which costs nothing where a row takes longer and another one is waiting.
    """
    start = time.perf_counter()
    run = begin(folder / f"nothing{num_rows}", checkpoint, num_rows)
    checked = time.perf_counter()
    pipeline = pipeline_of(run, NothingOne, NothingTwo)
    planned = time.perf_counter()
    with watched() as peaks:
        ended, inside = [], [0.0, 0.0]
        for row in run_pipeline(pipeline, start_board()):
            ended.append(time.perf_counter())
            inside = [inside[0] + float(row["one_s"]), inside[1] + float(row["two_s"])]
    made = time.perf_counter()
    told = finish_run(run, {}, 0, folder)
    assert told is not None
    assert told["num_made"] == num_rows
    end = time.perf_counter()
    parts = (checked - start, planned - checked, ended[-1] - ended[0], end - made)
    told_s = (sum(parts), *parts[:3], *inside, parts[3])
    return [
        str(num_rows),
        f"{end - start:.1f}",
        *(f"{1000 * each / num_rows:.1f}" for each in told_s),
        *(f"{peaks[name]:.0f}" for name in peaks),
    ]


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)  # as each worker has one CPU
    lines: list[str] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        if options.rows:
            rows, told = rates(folder, options.checkpoint, options.rows, options.moved)
            lines.append(f"{report.table(HEAD, rows)}\n")
            lines.append(f"- {told}; one worker a stage, one thread each, on {os.cpu_count()} CPUs")
            lines.append("- the best: a pipeline at the rate of its slower stage\n")
        with connected(num_cpus=2):
            curve = [costs(folder, options.checkpoint, number) for number in options.curve]
    lines.append(report.table(COST_HEAD, curve))
    report.publish("\n".join(lines), options.output, "Bulk generation", "benchmarks.bench_bulk", arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_bulk", description="Bulk generation's rate and overhead."
    )
    parser.add_argument("checkpoint", type=Path, nargs="?", default=DEFAULT_MODEL, help="default: the embedded model")
    parser.add_argument("--rows", type=int, default=40, help="of the loop and of the job; 0 leaves the first table out")
    parser.add_argument("--moved", type=int, default=4, help="rows by the released script's pattern")
    parser.add_argument("--curve", type=int, nargs="+", default=[100, 1_000], help="numbers of rows without stages")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
