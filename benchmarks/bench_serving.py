"""Times videos made over the service against the same two stages called in this process, and requests of its HTTP.

    python -m benchmarks.bench_serving CHECKPOINT

Both in one run, video after video: one here, then the same one there. Requests are timed while no replica of a stage
is there, so that they do not share the CPU with one. A full queue is the matter of `bench_database`.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

import httpx
import psutil
import sqlalchemy as sa
import torch
from ray import serve

from benchmarks import report
from deployments.config import AppConfig, StageConfig
from deployments.database.engine import open_engine
from deployments.database.tables import attempts, videos
from deployments.text_to_video import build
from fv_ray.results import make_preview, make_video
from fv_ray.text_to_video import TextToVideo
from fv_ray.video_io import Encoding
from jobs.connect_ray import connected

HEAD = ("", "in process, s", "service, s", "ratio", "more, ms", "of it outside the stages, ms")
MODELS = {"preview": "flashvideo-preview", "video": "flashvideo"}
PROMPT = "a red fox runs across a snowy field at dawn"
OUT_OF_REACH = 10**6
"""GPUs that no machine has."""


@contextmanager
def application(config: AppConfig, url: str) -> Iterator[httpx.Client]:
    """The service; a client of its HTTP."""
    serve.run(build(config), name="bench")
    try:
        with httpx.Client(base_url=f"{url}/v1", timeout=600) as client:
            yield client
    finally:
        serve.delete("bench")


def in_process(models: TextToVideo, kind: str, seed: int) -> float:
    """Seconds of a video and its files."""
    request = models.checkpoint.request(PROMPT, seed=seed)
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        preview = make_preview(models.stage_one, request, Path(folder) / "made")
        if kind == "video":
            make_video(models.stage_two, request, preview, Path(folder) / "made", Encoding())
        return time.perf_counter() - start


def over_service(client: httpx.Client, engine: sa.Engine, kind: str, seed: int) -> tuple[float, float]:
    """Seconds from a request until its video is completed, and those that the stages took of them."""
    start = time.time()
    body = {"prompt": PROMPT, "model": MODELS[kind], "seed": seed}
    made = client.post("/videos", json=body).raise_for_status().json()["id"]
    ended = sa.select(videos.c.state, videos.c.completed_at).where(videos.c.id == made)
    while True:
        with engine.connect() as conn:
            state, completed_at = conn.execute(ended).one()
            if state in ("completed", "failed"):
                taken = sa.select(sa.func.sum(attempts.c.device_seconds)).where(attempts.c.video_id == made)
                in_stages = conn.execute(taken).scalar_one()
                break
        time.sleep(0.02)
    assert state == "completed", made
    return completed_at - start, in_stages


def overhead(config: AppConfig, url: str, num_videos: int) -> list[list[str]]:
    """A row for each kind of video: medians."""
    models, rows = TextToVideo.from_pretrained(config.checkpoint), []
    with application(config, url) as client:
        engine = open_engine(config.database_url)
        for number, kind in enumerate(MODELS):
            seeds = range(number * (num_videos + 1), (number + 1) * (num_videos + 1))  # the first one warms up
            pairs = [(in_process(models, kind, seed), *over_service(client, engine, kind, seed)) for seed in seeds][1:]
            here, there = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
            outside = median(total - in_stages for _, total, in_stages in pairs)
            rows.append([kind, f"{here:.3f}", f"{there:.3f}", f"{there / here:.2f}x",
                         f"{1000 * (there - here):.0f}", f"{1000 * outside:.0f}"])  # fmt: skip
        engine.dispose()
    return rows


def http_cpu_s() -> float:
    """CPU seconds that Serve's proxies and the ingress have used so far, however busy the machine is."""
    titles = ("ray::ProxyActor", "ray::HAProxyManager", "ray::ServeReplica:bench:Ingress")
    processes = psutil.Process().children(recursive=True)
    return sum(
        sum(each.cpu_times()[:2])
        for each in processes
        if each.name() == "haproxy" or " ".join(each.cmdline()).startswith(titles)
    )


def rates(config: AppConfig, url: str, num_requests: int, num_clients: int) -> list[tuple[float, float]]:
    """Creates and retrieves: how many a second, and the CPU milliseconds that HTTP takes for one."""
    with application(config, url) as client, ThreadPoolExecutor(num_clients) as pool:

        def create(seed: int) -> str:
            body = {"prompt": PROMPT, "seed": seed}
            return str(client.post("/videos", json=body).raise_for_status().json()["id"])

        def rate(work: Callable[[str], object], items: Sequence[str]) -> tuple[float, float]:
            start, cpu_s = time.perf_counter(), http_cpu_s()
            list(pool.map(work, items))
            seconds = time.perf_counter() - start
            return len(items) / seconds, 1000 * (http_cpu_s() - cpu_s) / len(items)

        ids = list(pool.map(create, range(10)))  # warms up
        creating = rate(lambda seed: ids.append(create(int(seed))), [str(seed) for seed in range(num_requests)])
        return [creating, rate(lambda made: client.get(f"/videos/{made}").raise_for_status(), ids[-num_requests:])]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)  # as each replica has one CPU
    with connected():
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        with TemporaryDirectory() as folder:
            config = AppConfig(
                checkpoint=options.checkpoint,
                database_url=f"sqlite:///{folder}/videos.sqlite",
                storage_url=f"{folder}/artifacts",
            )
            rows = overhead(config, url, options.videos)
            away = StageConfig(
                min_replicas=0, num_gpus=OUT_OF_REACH, max_request_s=1
            )  # Serve waits so long for it to stop
            without_stages = config.model_copy(update={"stage_one": away, "stage_two": away})
            (creating, create_ms), (retrieving, retrieve_ms) = rates(
                without_stages, url, options.requests, options.clients
            )
        serve.shutdown()
    proxy = "HAProxy" if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" else "Serve's own proxy"
    lines = [
        f"{report.table(HEAD, rows)}\n",
        f"- medians of {options.videos} videos each; SQLite, results in a folder, {proxy}, on {os.cpu_count()} CPUs",
        f"- {creating:.0f} creates and {retrieving:.0f} retrieves a second over HTTP, by {options.clients} clients",
        f"- {create_ms:.1f} and {retrieve_ms:.1f} ms of CPU for each, of the proxy and the ingress",
    ]
    report.publish("\n".join(lines), options.output, "The service", "benchmarks.bench_serving", arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_serving", description="The service's overhead.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint folder")
    parser.add_argument("--videos", type=int, default=9, help="of each kind")
    parser.add_argument("--requests", type=int, default=300, help="of each kind")
    parser.add_argument("--clients", type=int, default=4, help="threads that ask")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
