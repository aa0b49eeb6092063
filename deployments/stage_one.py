"""Stage one's replica: a prompt to a stored preview."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from deployments.config import StageConfig
from deployments.stage_loading import load_stage, warm_up_request
from deployments.stage_runner import StageRunner
from deployments.stage_work import Done, StageWork, Step
from fv_ray.results import make_preview
from fv_ray.stage_one import StageOne
from fv_ray.types import OnProgress
from fv_ray.work_key import stage_one_work_key


class StageOneReplica:
    """Holds stage one's weights; ready when they are loaded and warm."""

    def __init__(self, checkpoint: Path, storage_url: str, config: StageConfig) -> None:
        self._attention_backend = config.attention_backend
        self._stage = load_stage(StageOne, checkpoint, config)
        self._runner = StageRunner("stage_one", storage_url, self._stage.device, stall_s=config.stall_s)
        self._stage.preview_frames(self._stage.generate(warm_up_request(self._stage.checkpoint)))

    async def run(self, work: StageWork) -> AsyncGenerator[Step | Done, None]:
        """Make the preview of a work, unless it is there already; raises as `StageRunner.run`."""
        key = stage_one_work_key(work.request, self._stage.checkpoint.digest, salt=work.salt)

        def make(_given: Path, made: Path, on_progress: OnProgress) -> None:
            make_preview(
                self._stage, work.request, made, attention_backend=self._attention_backend, on_progress=on_progress
            )

        async with aclosing(self._runner.run(key, make)) as running:
            async for told in running:
                yield told

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        self._runner.check()
