"""Stages for tests of who runs where and when: their works only wait, so that no replica loads torch."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from deployments.config import StageConfig
from deployments.stage_runner import StageRunner
from deployments.stage_work import Done, StageWork, Step
from fv_ray.artifact_store import Stage
from fv_ray.types import OnProgress
from fv_ray.work_key import stage_one_work_key

WORK_S = 0.5


class _Replica:
    stage: Stage

    def __init__(self, checkpoint: Path, storage_url: str, config: StageConfig) -> None:  # noqa: ARG002
        self._runner = StageRunner(self.stage, storage_url, "cpu", stall_s=config.stall_s)

    async def run(self, work: StageWork) -> AsyncGenerator[Step | Done, None]:
        def make(_given: Path, made: Path, _on_progress: OnProgress) -> None:
            time.sleep(WORK_S)
            (made / "preview.safetensors").write_text(work.video_id)

        key = stage_one_work_key(work.request, self.stage, salt=work.video_id)
        async with aclosing(self._runner.run(key, make)) as running:
            async for told in running:
                yield told

    def check_health(self) -> None:
        self._runner.check()


class StageOneReplica(_Replica):
    stage = "stage_one"


class StageTwoReplica(_Replica):
    stage = "stage_two"
