"""The service as a process that can be killed: `python -c "from tests.chaos.application import main; main(...)"`.

It runs the application that `build` makes of a configuration (JSON), on a Ray of its own in a folder. Each run on a
device sends two marks to a socket: "begin" or "end", process, work key, time.
"""

import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from deployments import stage_one, stage_two
from deployments.config import AppConfig
from deployments.stage_runner import Make, StageRunner
from deployments.stage_work import Done, Step
from fv_ray.artifact_store import Artifact
from fv_ray.types import OnProgress

MARKS = "FV_RAY_CHAOS_MARKS"


class MarkingRunner:
    """A runner that notes when the device is used."""

    def __init__(self, runner: StageRunner) -> None:
        self._runner = runner
        self.check = runner.check

    def run(
        self, work_key: str, make: Make, inputs: Mapping[str, Artifact] | None = None
    ) -> AsyncGenerator[Step | Done, None]:
        def make_and_mark(given: Path, made: Path, on_progress: OnProgress) -> None:
            _mark("begin", work_key)
            try:
                make(given, made, on_progress)
            finally:
                _mark("end", work_key)

        return self._runner.run(work_key, make_and_mark, inputs)


def _mark(what: str, work_key: str) -> None:
    line = f"{what} {os.getpid()} {work_key} {time.time()}".encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as marks:  # unlike a file, it takes them when disks are full
        marks.sendto(line, os.environ[MARKS])


class StageOneReplica(stage_one.StageOneReplica):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._runner = MarkingRunner(self._runner)


class StageTwoReplica(stage_two.StageTwoReplica):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._runner = MarkingRunner(self._runner)


def main(config: str, name: str, port: str, marks: str) -> None:
    os.environ[MARKS] = marks
    import ray
    from ray import serve

    from deployments import text_to_video

    ray.init(
        "local",
        num_cpus=4,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    text_to_video.StageOneReplica = StageOneReplica
    text_to_video.StageTwoReplica = StageTwoReplica
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(text_to_video.build(AppConfig.model_validate_json(config)), name=name, route_prefix="/")
    while True:
        time.sleep(60)
