"""A service in a folder: started, its processes found by what they are, killed as a whole and started again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil
import sqlalchemy as sa

from deployments.config import AppConfig, StageConfig
from deployments.database.engine import open_engine
from tests.postgres import PostgresServer, free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600
"""For what takes seconds on an idle machine."""
STALL_S = 12
NAME = "chaos"
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1",
}


@dataclass(frozen=True)
class Mark:
    """A run on a device begins or ends."""

    what: str
    process: int
    work_key: str
    at: float


class Service:
    """Runs in the `with` block. One replica of each stage, on the CPU."""

    def __init__(
        self,
        checkpoint: Path,
        folder: Path,
        *,
        storage_url: str | None = None,
        postgres: PostgresServer | None = None,
        num_orchestrators: int = 1,
    ) -> None:
        stage = StageConfig(num_cpus=0, max_request_s=5, stall_s=STALL_S)
        self.postgres = postgres
        self.sqlite = folder / "videos.sqlite"
        self.config = AppConfig(
            checkpoint=checkpoint,
            database_url=str(postgres.url) if postgres else f"sqlite:///{self.sqlite}",
            storage_url=storage_url or str(folder / "artifacts"),
            num_orchestrators=num_orchestrators,
            stage_one=stage,
            stage_two=stage,
            first_retry_s=0.5,
            health_check_timeout_s=3,
        )
        self.marks: list[Mark] = []
        self.log = folder / "log"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._place = Path(tempfile.mkdtemp(prefix="fvc"))  # short: a socket's path has at most 107 bytes
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._place / "marks"))
        threading.Thread(target=self._receive_marks, daemon=True).start()
        self.start()
        self.engine: sa.Engine = open_engine(self.config.database_url)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_everything()
        self.engine.dispose()
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread
        self._socket.close()
        shutil.rmtree(self._place)

    def start(self) -> None:
        """Give back when it takes work."""
        # Not as __main__, where replicas would not find its classes.
        program = [sys.executable, "-c", "import sys; from tests.chaos.application import main; main(*sys.argv[1:])"]
        with self.log.open("ab") as log:
            self._driver = subprocess.Popen(
                [
                    *program,
                    self.config.model_dump_json(),
                    NAME,
                    str(self._port),
                    str(self._place / "marks"),
                ],
                cwd=ROOT,
                env=os.environ | ENVIRONMENT,
                stdout=log,
                stderr=log,
                start_new_session=True,  # by which all of its processes are known
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self._driver.poll() is None, self.log.read_text(errors="replace")[-3000:]
            try:
                return httpx.get(f"{self.url}/readyz", timeout=30).is_success
            except httpx.TransportError:
                return False

        until(is_ready, "the service is ready")
        for stage in ("StageOne", "StageTwo"):
            until(lambda stage=stage: self.processes(stage), f"there is a {stage}")

    def processes(self, deployment: str = "") -> list[psutil.Process]:
        """All of them, or the replicas of one deployment; "proxy" and "controller" are Serve's own."""
        titles = {"": "", "proxy": "ray::ProxyActor", "controller": "ray::ServeController"}
        title = titles.get(deployment, f"ray::ServeReplica:{NAME}:{deployment}")
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._driver.pid and title in " ".join(process.cmdline()):
                    found.append(process)
            except (psutil.Error, ProcessLookupError):
                continue
        return [each for each in found if each.status() != psutil.STATUS_ZOMBIE]

    def signal(self, deployment: str, number: signal.Signals) -> psutil.Process:
        """Wait until there is a replica, and send it a signal."""
        while True:
            until(lambda: self.processes(deployment), f"there is a {deployment}")
            try:
                process = self.processes(deployment)[0]
                process.send_signal(number)
            except (IndexError, psutil.NoSuchProcess):
                continue
            return process

    def _receive_marks(self) -> None:
        while line := self._socket.recv(1000).decode():
            what, process, work_key, at = line.split()
            self.marks.append(Mark(what, int(process), work_key, float(at)))

    def kill_everything(self) -> None:
        """The driver, all of that Ray, its workers: at once, and those that were just being started."""
        while found := self.processes():
            for process in found:
                process.kill()
            psutil.wait_procs(found, timeout=1)
        self._driver.wait()


def until(is_true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.1)
