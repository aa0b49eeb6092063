"""The real application on a small Ray Serve, and ways around its front door."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from dbos import DBOSClient

from deployments.config import AppConfig, EnhancerConfig, StageConfig
from deployments.database.engine import open_engine
from deployments.database.records import Kind, NewVideo, VideoRecord
from deployments.database.videos import read
from deployments.text_to_video import build
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.types import VideoRequest
from tests.deployments.videos import Database, accepted, rows

TENANT = "default"
PATIENCE_S = 240


@dataclass(frozen=True)
class App:
    """An application that runs."""

    name: str
    url: str
    storage: Path
    database: Database
    checkpoint: CheckpointInfo
    config: AppConfig

    def accept(self, kind: Kind = "full", num_inference_steps: int = 2, prompt: str = "a red fox") -> VideoRecord:
        request = self.checkpoint.request(prompt, seed=1, stage_one={"num_inference_steps": num_inference_steps})
        return accepted(self.database, NewVideo(TENANT, kind, "flashvideo", self.checkpoint.digest, request))

    def commit(self, preview: VideoRecord, num_inference_steps: int = 2, seed: int = 1) -> VideoRecord:
        changes = {"num_inference_steps": num_inference_steps, "seed": seed}
        request = self.read(preview).request
        request = VideoRequest.model_validate(request.model_dump() | {"stage_two": dict(request.stage_two) | changes})
        record = self.read(preview).preview
        return accepted(
            self.database,
            NewVideo(
                TENANT, "commit", "flashvideo", self.checkpoint.digest, request, parent_id=preview.id, preview=record
            ),
        )

    def find(self, video_id: str) -> VideoRecord:
        return read(self.database.engine, TENANT, video_id)

    def read(self, video: VideoRecord) -> VideoRecord:
        return self.find(video.id)

    def until(self, video: VideoRecord, *states: str, progress: int = 0) -> VideoRecord:
        deadline = time.monotonic() + PATIENCE_S
        while (now := self.read(video)).state not in states or now.progress < progress:
            assert time.monotonic() < deadline, now
            time.sleep(0.05)
        return now

    def outcomes(self, video_id: str) -> list[str]:
        attempts = [row for row in rows(self.database, "attempts") if row.video_id == video_id]
        return [row.outcome for row in sorted(attempts, key=lambda row: (row.stage, row.number))]

    def num_replicas(self) -> dict[str, int]:
        """That run, of each stage."""
        from ray import serve

        deployments = serve.status().applications[self.name].deployments
        running = {name: told.replica_states for name, told in deployments.items() if name.startswith("Stage")}
        return {
            name: sum(number for state, number in states.items() if str(state) == "RUNNING")
            for name, states in running.items()
        }

    def deploy(self, config: AppConfig) -> None:
        """Another version over this one. It must have no route."""
        from ray import serve

        serve.run(build(config), name=self.name, route_prefix=None)

    def kill(self, deployment: str) -> None:
        self._process(deployment).send_signal(signal.SIGKILL)

    def environment(self, deployment: str) -> dict[str, str]:
        return self._process(deployment).environ()

    def _process(self, deployment: str) -> psutil.Process:
        title = f"ray::ServeReplica:{self.name}:{deployment}"
        (process,) = [each for each in psutil.process_iter() if title in " ".join(_command(each))]
        return process


@contextmanager
def running_app(
    folder: Path,
    checkpoint: Path,
    stage: StageConfig,
    *,
    name: str,
    serve_url: str,
    route: str | None = "/",
    enhancer: EnhancerConfig | None = None,
) -> Iterator[App]:
    """Both stages alike. Without a route, HTTP does not reach it: many may run at a time."""
    from ray import serve

    config = AppConfig(
        checkpoint=checkpoint,
        database_url=f"sqlite:///{folder}/videos.sqlite",
        storage_url=str(folder / "artifacts"),
        stage_one=stage,
        stage_two=stage,
        enhancer=enhancer,
    )
    name = f"{name}{os.getpid()}"
    serve.run(build(config), name=name, route_prefix=route)
    engine = open_engine(config.database_url)
    client = DBOSClient(system_database_engine=engine)
    yield App(
        name,
        serve_url,
        folder / "artifacts",
        Database(config.database_url, engine, client),
        CheckpointInfo.read(checkpoint),
        config,
    )
    serve.delete(name)
    client.destroy()
    engine.dispose()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
