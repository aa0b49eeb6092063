"""Times what the service does most often in its database, empty and with 10,000 videos queued.

    python -m benchmarks.bench_database sqlite:///bench.sqlite
    python -m benchmarks.bench_database postgresql://USER:PASSWORD@HOST/DATABASE

The database must be new or empty; its rows are left there. The ratios say what a full queue costs, in one run.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import sqlalchemy as sa
from dbos import DBOSClient

from benchmarks import report
from deployments.database import videos
from deployments.database.acceptance import accept
from deployments.database.attempts import begin_attempt
from deployments.database.engine import open_engine
from deployments.database.records import NewVideo, VideoRecord
from deployments.database.upgrade import upgrade
from deployments.job_names import APPLICATION_VERSION
from fv_ray.types import StageOneSampling, StageTwoSampling, VideoRequest

Item = TypeVar("Item")
Result = TypeVar("Result")

KINDS = ("accept", "read", "claim")
HEAD = ("", "a second, empty queue", "a second, full queue", "slower by")
NUM_TENANTS = 20


def a_video(number: int) -> NewVideo:
    request = VideoRequest(
        prompt="a red fox runs across a snowy field at dawn, " * 20,
        seed=number,
        stage_one=StageOneSampling(num_inference_steps=50, guidance_scale=6, num_frames=49, height=256, width=480),
        stage_two=StageTwoSampling(
            num_inference_steps=4, guidance_scale=1, height=1072, width=1920, shift=5, noise_level=675
        ),
    )
    key = f"client/{number}"
    return NewVideo(f"tenant-{number % NUM_TENANTS}", "full", "flashvideo", "0" * 64, request, idempotency_key=key)


class Bench:
    """A database, and the numbers that its videos have had."""

    def __init__(self, engine: sa.Engine, num_clients: int) -> None:
        self.engine, self.num_clients, self.number = engine, num_clients, 0
        self.client = DBOSClient(system_database_engine=engine)
        self.queue = self.client.register_queue("stage_one", worker_concurrency=1)

    def fill(self, num_videos: int) -> list[VideoRecord]:
        numbers = range(self.number, self.number + num_videos)
        self.number += num_videos
        return self.at_once(self.accept, numbers)

    def accept(self, number: int) -> VideoRecord:
        return accept(self.engine, self.client, a_video(number), max_queued=10**6, max_queued_per_tenant=10**6).video

    def claim(self, _of_any: VideoRecord) -> None:
        """What an orchestrator does with a free place: DBOS' own step of taking one, and then ours."""
        taken: list[str] = []
        while not taken:  # on SQLite another may have taken the same one first
            taken, _ = self.client._sys_db.start_queued_workflows(self.queue, "bench", APPLICATION_VERSION, None)
        begin_attempt(self.engine, taken[0].partition("-")[0], "stage_one", 1)

    def at_once(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        with ThreadPoolExecutor(self.num_clients) as pool:
            return list(pool.map(work, items))

    def rates(self, num_calls: int) -> dict[str, float]:
        """Calls a second of each kind; as many videos wait afterwards as before."""
        start = perf_counter()
        made = self.fill(num_calls)
        accepting = perf_counter() - start
        start = perf_counter()
        self.at_once(lambda video: videos.read(self.engine, video.tenant, video.id), made)
        reading = perf_counter() - start
        start = perf_counter()
        self.at_once(self.claim, made)
        claiming = perf_counter() - start
        return {name: num_calls / seconds for name, seconds in zip(KINDS, (accepting, reading, claiming), strict=True)}


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    engine = open_engine(options.url)
    upgrade(engine)
    bench = Bench(engine, options.clients)
    bench.rates(10)  # warms up
    empty = bench.rates(options.calls)
    bench.fill(options.queued)
    full = bench.rates(options.calls)
    rows = [[name, f"{empty[name]:.0f}", f"{full[name]:.0f}", f"{empty[name] / full[name]:.2f}x"] for name in KINDS]
    lines = [report.table(HEAD, rows), ""]
    lines.append(
        f"- {engine.dialect.name}, {options.clients} clients of one process, {options.calls} calls of each kind"
    )
    lines.append(f"- a full queue holds {options.queued} videos of {NUM_TENANTS} tenants")
    title = f"The service's database, {engine.dialect.name}"
    report.publish("\n".join(lines), options.output, title, "benchmarks.bench_database", ["URL", *arguments[1:]])
    bench.client.destroy()
    engine.dispose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_database", description="The service's database.")
    parser.add_argument("url", help="of a new or empty database")
    parser.add_argument("--queued", type=int, default=10_000, help="videos in the full queue")
    parser.add_argument("--calls", type=int, default=300, help="of each kind")
    parser.add_argument("--clients", type=int, default=4, help="threads that call")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
