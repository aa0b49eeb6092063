"""A bulk run on a cluster of its own, whose nodes come and go while its rows are held at work.

    python -m tests.jobs.generation.nodes FOLDER

Leaves what it has seen in FOLDER/seen.json. Each node but the driver's has a GPU that is only counted. The stages
write a few bytes, and stage two waits until it is let on: so nothing here depends on how fast anything is.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

import psutil
import ray
from ray._private.node import Node
from ray.actor import ActorHandle
from ray.cluster_utils import Cluster

from fv_ray.artifact_store import Stage
from fv_ray.blobs import open_blobs
from fv_ray.temporary_folder import own_temporary_folder
from fv_ray.types import OnProgress
from fv_ray.works import Work
from jobs.connect_ray import connected
from jobs.generation.make_stages import HALF, Worker
from jobs.generation.mark_rows import RowMarks
from jobs.generation.run_pipeline import Pipeline, Pool, run_pipeline
from jobs.generation.run_work import MAX_ATTEMPTS, WorkRunner
from jobs.generation.watch_rows import read_figures, start_board
from tests.artifact_writer import key

NUM_ROWS = 10
PATIENCE_S = 300.0
STORE_BYTES = 80 * 2**20


class HeldOne:
    """Stands for stage one's worker."""

    def __init__(self, worker: Worker, board: ActorHandle) -> None:
        self._runner = new_runner("stage_one", worker, board)

    def __call__(self, item: dict[str, str]) -> list[dict[str, str]]:
        def make(_given: Path, made: Path, _on_progress: OnProgress) -> None:
            (made / "preview.mp4").write_bytes(b"frames")

        name = item["preview_key"]
        assert self._runner.run(name, lambda: Work("stage_one", name, make), [name]).record is not None
        return [{**row, "status": HALF} for row in json.loads(item["rows"])]


class HeldTwo:
    """Stands for stage two's worker: says which row it has and in which process, and waits until the row is let on."""

    def __init__(self, worker: Worker, board: ActorHandle) -> None:
        self._runner = new_runner("stage_two", worker, board)
        self._gates = Gates(Path(worker.store_url).parent)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        def make(_given: Path, made: Path, _on_progress: OnProgress) -> None:
            self._gates.wait(row["key"])
            (made / "video.mp4").write_bytes(b"frames")

        work = Work("stage_two", row["key"], make)
        return {"key": row["key"], "status": self._runner.run(row["key"], lambda: work, [row["key"]]).status}


class Gates:
    """Files by which processes wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._held, self._open = folder / "held", folder / "open"
        for place in (self._held, self._open):
            place.mkdir(exist_ok=True)

    def wait(self, name: str) -> None:
        (self._held / f"{name}.{os.getpid()}").touch()
        while not (self._open / name).exists():
            time.sleep(0.05)

    def let_on(self, name: str) -> None:
        (self._open / name).touch()

    def holders(self) -> dict[str, int]:
        """The living process that holds each row."""
        told = (file.name.split(".") for file in self._held.iterdir())
        return {name: int(pid) for name, pid in told if psutil.pid_exists(int(pid))}


class Nodes:
    """The cluster."""

    def __init__(self) -> None:
        self._cluster = Cluster()
        noticing = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
        self._add(num_cpus=1, num_gpus=0, _system_config=noticing)

    @property
    def address(self) -> str:
        return self._cluster.address

    def add(self) -> None:
        """A node with room for one worker."""
        self._add(num_cpus=1, num_gpus=1)

    def remove(self, pid: int) -> None:
        """Kill the node of a worker's process, as a machine that is taken away."""
        raylet = psutil.Process(pid).ppid()
        (node,) = [node for node in self._cluster.worker_nodes if raylet_of(node) == raylet]
        self._cluster.remove_node(node, allow_graceful=False)
        until(lambda: not psutil.pid_exists(pid))

    def num_workers(self) -> Counter[str]:
        """Processes that each stage has."""
        found: Counter[str] = Counter()
        for node in self._cluster.worker_nodes:
            for process in psutil.Process(raylet_of(node)).children():
                with suppress(psutil.Error):
                    title = " ".join(process.cmdline())
                    found += Counter(name for name in ("HeldOne", "HeldTwo") if name in title)
        return found

    def stop(self) -> None:
        self._cluster.shutdown()

    def _add(self, **options: Any) -> None:
        self._cluster.add_node(wait=False, object_store_memory=STORE_BYTES, **options)


def raylet_of(node: Node) -> int:
    (raylet,) = node.all_processes["raylet"]
    return raylet.process.pid


def new_runner(stage: Stage, worker: Worker, board: ActorHandle) -> WorkRunner:
    url = worker.store_url
    return WorkRunner(stage, store_url=url, previews_url=url, board=board, device_name="cpu", stall_s=worker.stall_s)


def until(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def running() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        os.environ["RAY_ADDRESS"] = nodes.address
        with connected():
            yield nodes
    finally:
        nodes.stop()


def new_pipeline(url: str) -> Pipeline:
    rows = [(key(number), key(NUM_ROWS + number)) for number in range(NUM_ROWS)]
    previews = [{"preview_key": preview, "rows": json.dumps([{"key": row}])} for row, preview in rows]
    worker = Worker("", url, url, "cpu", None, "native", "", PATIENCE_S, makes_videos=True)
    return Pipeline(previews, [], worker, Pool(HeldOne, 1, 2, 1, 1), Pool(HeldTwo, 1, 3, 1, 1))


def watch(nodes: Nodes, folder: Path) -> dict[str, Any]:
    """Make the rows while nodes come and go; what was seen."""
    url, gates, most = f"{folder}/out", Gates(folder), Counter[str]()
    board, statuses = start_board(), Counter[str]()

    def make() -> None:
        statuses.update(row["status"] for row in run_pipeline(new_pipeline(url), board))

    def has_workers(**numbers: int) -> bool:
        nonlocal most
        most |= (now := nodes.num_workers())
        return now == Counter(numbers)

    rows = threading.Thread(target=make, daemon=True)
    rows.start()
    until(lambda: has_workers(HeldTwo=2))  # where stage one had a worker as long as it had work
    nodes.add()
    until(lambda: has_workers(HeldTwo=3))
    grown = nodes.num_workers()

    row = next(iter(gates.holders()))
    for number in range(NUM_ROWS):
        if key(number) != row:
            gates.let_on(key(number))
    until(lambda: read_figures(board)["stage_two"].num_made == NUM_ROWS - 2)  # one more waits behind it
    for number in range(MAX_ATTEMPTS):
        if number == MAX_ATTEMPTS - 1:
            nodes.add()
        nodes.remove(gates.holders()[row])
        until(lambda: row in gates.holders())
    gates.let_on(row)
    rows.join(PATIENCE_S)
    failed, begun = RowMarks(open_blobs(url)).read_all()
    return {
        "statuses": statuses,
        "most": most,
        "grown": grown,
        "num_lost": read_figures(board)["stage_two"].num_lost,
        "num_failed": len(failed),
        "num_marks": begun.total(),
    }


def main(folder: Path) -> None:
    with own_temporary_folder(), running() as nodes:
        for _ in range(2):
            nodes.add()
        until(lambda: ray.cluster_resources().get("GPU", 0) == 2)
        (folder / "seen.json").write_text(json.dumps(watch(nodes, folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
