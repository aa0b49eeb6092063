"""Bulk generation whose processes are killed again and again, until it is done; then what must hold is looked at.

    python -m tests.chaos.generation --rows 200 --kills 100 --place s3

Each launch is the command, as a person gives it, with a Ray of its own. It is killed, all of it, at a moment drawn at
random: after some time, after some commits, and on S3 in the moment in which a record or a manifest is to be written.
One row's actor is killed whenever it begins that row. On S3, requests are refused meanwhile, and some are carried out
and refused then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import psutil
import pyarrow.parquet as pq

from fv_ray.artifact_store import RECORD_FILE, ArtifactStore
from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.temporary_folder import own_temporary_folder
from jobs.generation.check_rows import Asking, Row, check_rows
from jobs.generation.mark_rows import RowMarks
from jobs.generation.read_lines import RawRow
from tests.object_store import Fault, ObjectStore, object_store
from tests.tiny import make_checkpoint, make_small_checkpoint

DONE, RESUMABLE = 3, 75
ENDED_BEFORE_IT_LISTENED = -signal.SIGTERM
"""While Python is still reading the command's modules."""
MAX_LAUNCH_S = 1_800
SLOTS = 2
"""Rows at hand: an actor of each stage."""
NUM_LAST = 3
"""Kills that may wait for the manifest."""
POISON = "poison"
Moment = Literal["time", "commits", "record", "manifest", "drain"]


@dataclass
class Experiment:
    """What is done to one run."""

    checkpoint: Path
    url: str
    num_rows: int
    num_kills: int
    draws: random.Random
    objects: ObjectStore | None = None
    has_poison: bool = True
    """Whether a row kills the process that makes it, again and again."""
    statuses: list[int] = field(default_factory=list)
    """Of the launches that were not killed."""
    moments: list[Moment] = field(default_factory=list)
    num_poisoned: int = 0
    poison_marks: set[str] = field(default_factory=set)
    """Of the beginnings of the poison row that were answered."""


def table_of(experiment: Experiment) -> list[dict[str, Any]]:
    """Rows, every tenth of them bad and every tenth one of before, and a poison row if there is to be one."""
    num_rows = experiment.num_rows
    rows: list[dict[str, Any]] = [{"id": str(number), "prompt": f"a fox number {number}"} for number in range(num_rows)]
    for number in range(9, num_rows, 10):
        rows[number] = {"id": str(number), "prompt": ""}
    for number in range(5, num_rows, 10):
        rows[number] = {**rows[number - 5], "id": f"again {number}", "seed": 1}
        rows[number - 5]["seed"] = 1
    if experiment.has_poison:  # of many steps, so that it is still at work when its beginning has been seen
        rows[2] = {"id": POISON, "prompt": "a poison", "stage_one.num_inference_steps": 1000}
    return rows


def rows_of(experiment: Experiment) -> list[Row]:
    raw = (RawRow(str(number), row) for number, row in enumerate(table_of(experiment)))
    return list(check_rows(raw, Asking(), CheckpointInfo.read(experiment.checkpoint)))


def run_until_done(experiment: Experiment, folder: Path) -> None:
    """Launch, kill, and launch again."""
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in table_of(experiment)))
    poisons = [row for row in rows_of(experiment) if row.id == POISON]
    while True:
        is_to_be_killed = len(experiment.moments) < experiment.num_kills
        with launched(experiment, table, folder / "log.txt") as process, contextlib.ExitStack() as stack:
            for poison in poisons:
                stack.enter_context(poisoned(experiment, poison, process))
            if is_to_be_killed and kill(experiment, process):
                continue
            status = process.wait(MAX_LAUNCH_S)
        experiment.statuses.append(status)
        if status != RESUMABLE:
            return


@contextlib.contextmanager
def launched(experiment: Experiment, table: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command; whatever of it is left at the end is killed."""
    command = ["-m", "jobs.generate", "--input", table, "--output", experiment.url, "--device", "cpu"]
    options = ["--checkpoint", experiment.checkpoint, "--stage-one-workers", "1", "--stage-two-workers", "1"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    with log.open("ab") as output:
        arguments = [sys.executable, *map(str, command + options)]
        process = subprocess.Popen(arguments, stdout=output, stderr=output, env=environment)
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the command and every process of its Ray, the parents first, so that nobody restarts a child."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        for each in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def kill(experiment: Experiment, process: subprocess.Popen[bytes]) -> bool:
    """Kill a launch at a moment drawn at random; False: it had ended before."""
    moment = draw_moment(experiment)
    event = threading.Event()
    wanted = num_records(experiment.url) + experiment.draws.randrange(4) if moment == "commits" else 0
    end = time.monotonic() + (experiment.draws.uniform(0, 40) if moment in ("time", "drain") else MAX_LAUNCH_S)

    def spoil(method: str, path: str) -> Fault:
        ends = {"record": path.endswith(f"/{RECORD_FILE}"), "manifest": "/manifest/" in path}
        if method == "PUT" and ends.get(moment):
            event.set()
            kill_all(process)
            return "refuse"
        return spoiled_request(experiment.draws)

    with experiment.objects.spoiled(spoil) if experiment.objects else contextlib.nullcontext():
        while process.poll() is None and not event.is_set() and time.monotonic() < end:
            if moment == "commits" and num_records(experiment.url) >= wanted:
                break
            time.sleep(0.2)
        if process.poll() is not None and not event.is_set():
            return False
        if moment == "drain":
            process.send_signal(signal.SIGTERM)
            experiment.statuses.append(process.wait(MAX_LAUNCH_S))
        kill_all(process)
    experiment.moments.append(moment)
    return True


def draw_moment(experiment: Experiment) -> Moment:
    moments: list[Moment] = ["time", "commits", "drain"]
    if experiment.objects:
        moments.append("record")
        if experiment.num_kills - len(experiment.moments) <= NUM_LAST:
            moments.append("manifest")  # which comes when all else is done
    return experiment.draws.choice(moments)


def spoiled_request(draws: random.Random) -> Fault:
    luck = draws.random()
    return "refuse" if luck < 0.02 else "store and refuse" if luck < 0.04 else None


@contextlib.contextmanager
def poisoned(experiment: Experiment, poison: Row, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill stage one's actor whenever it has begun the poison row."""
    is_over = threading.Event()
    seen = experiment.poison_marks

    def watch() -> None:
        blobs = open_blobs(experiment.url)
        while not is_over.wait(0.05):
            with contextlib.suppress(Exception):
                begun = {
                    path
                    for path in blobs.files(f"rows/{poison.preview_key[:2]}/{poison.preview_key}")
                    if "/begun-" in path
                }
                if begun - seen and kill_actor(process):
                    experiment.num_poisoned += 1
                seen.update(begun)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def kill_actor(process: subprocess.Popen[bytes]) -> bool:
    for each in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "StageOneWorker" in " ".join(each.cmdline()):
                each.kill()
                return True
    return False


def num_records(url: str) -> int:
    with contextlib.suppress(Exception):
        return sum(path.endswith(f"/{RECORD_FILE}") for path in open_blobs(url).files("w"))
    return 0


def check(experiment: Experiment) -> dict[str, int]:
    """Look at what must hold; figures for whoever wants them."""
    blobs, store = open_blobs(experiment.url), ArtifactStore.open(experiment.url)
    rows, lines = rows_of(experiment), manifest_of(blobs)
    assert experiment.statuses[-1] == DONE, experiment.statuses
    assert set(experiment.statuses) <= {DONE, RESUMABLE, ENDED_BEFORE_IT_LISTENED}, experiment.statuses
    assert [line["id"] for line in lines] == [row.id for row in rows]
    is_made = [row.problem is None and row.id != POISON for row in rows]
    assert [line["status"] == "made" for line in lines] == is_made
    for error in [RowMarks(blobs).error(row.key) for row in rows if row.id == POISON]:
        assert error is not None
        assert (error.code, error.attempts) == ("crash_loop", 3)

    wanted = {(line["preview_work_key"], line["video_work_key"]) for line in lines if line["status"] == "made"}
    assert len(wanted) == len({row.key for row, made in zip(rows, is_made, strict=True) if made})
    records = {path.split("/")[2] for path in blobs.files("w") if path.endswith(f"/{RECORD_FILE}")}
    assert records == {key for keys in wanted for key in keys}
    for key in records:
        record = store.find(key)
        assert record is not None
        for artifact in record.artifacts.values():
            assert sha256(store.read(artifact)).hexdigest() == artifact.sha256
    store.sweep(datetime.now(UTC) + timedelta(days=1))
    assert not list(store.orphans(datetime.now(UTC) + timedelta(days=1)))
    assert not RowMarks(blobs).read_all()[1]

    report = json.loads(blobs.read("report.json") or b"")
    num_lost = report["device_s"]["num_lost_attempts"]
    most = len(experiment.moments) * SLOTS + experiment.num_poisoned
    assert num_lost <= most, (num_lost, most)
    return {"launches": report["num_launches"], "kills": len(experiment.moments), "lost": num_lost, "most": most}


def manifest_of(blobs: Blobs) -> list[dict[str, Any]]:
    success = json.loads(blobs.read("_SUCCESS.json") or b"")
    lines: list[dict[str, Any]] = []
    for path, digest in sorted(success["parts"].items()):
        content = blobs.read(path) or b""
        assert sha256(content).hexdigest() == digest
        if path.startswith("manifest/"):
            lines += pq.read_table(BytesIO(content)).to_pylist()
    return lines


def main() -> None:
    options = _parser().parse_args()
    with own_temporary_folder() as folder, contextlib.ExitStack() as stack:
        make_checkpoint(folder / "tiny")
        make_small_checkpoint(folder / "tiny", folder / "checkpoint")
        objects = stack.enter_context(object_store()) if options.place == "s3" else None
        url = "s3://bucket/run" if objects else f"{folder}/run"
        draws = random.Random(options.seed)
        experiment = Experiment(folder / "checkpoint", url, options.rows, options.kills, draws, objects)
        try:
            run_until_done(experiment, folder)
            print(json.dumps(check(experiment)))
        finally:
            print(*(folder / "log.txt").read_text().splitlines()[-20:], sep="\n", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.generation", description="Bulk generation, killed.")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--place", choices=["disk", "s3"], default="disk")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
