"""Rows that end or hang the process that makes them, and the runner that they are given to; loads no torch."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.actor import ActorHandle

from fv_ray.types import OnProgress, Progress
from fv_ray.works import Work
from jobs.generation.run_work import WorkRunner
from tests.artifact_writer import key

KEY = key(1)


def new_runner(url: str, board: ActorHandle, stall_s: float = 60) -> WorkRunner:
    return WorkRunner("stage_two", store_url=url, previews_url=url, board=board, device_name="cpu", stall_s=stall_s)


def write_video(_given: Path, made: Path, on_progress: OnProgress) -> None:
    on_progress(Progress("refine", 1, 1, 0.5))
    (made / "video.mp4").write_bytes(b"frames")


def run(runner: WorkRunner, make: Callable[..., None], work_key: str = KEY) -> str:
    return runner.run(work_key, lambda: Work("stage_two", work_key, make), [work_key]).status


class Deadly:
    """An actor of Ray Data whose rows may end or hang its process."""

    def __init__(self, url: str, board: ActorHandle) -> None:
        self._runner = new_runner(url, board, stall_s=2)

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        def make(given: Path, made: Path, on_progress: OnProgress) -> None:
            if row["does"] == "die":
                os._exit(1)
            if row["does"] == "hang":
                on_progress(Progress("refine", 0, 1, 0))
                time.sleep(600)
            write_video(given, made, on_progress)

        return {"key": row["key"], "status": run(self._runner, make, row["key"])}
