"""Stage one's replica: a prompt to a stored preview."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from deployments.config import StageConfig
from deployments.stage_runner import StageRunner
from deployments.stage_work import Done, StageWork, Step
from fv_ray.works import device_name, preview_work


class StageOneReplica:
    """Holds stage one's weights; ready when they are loaded and warm."""

    def __init__(self, checkpoint: Path, storage_url: str, config: StageConfig) -> None:
        # Here, so that who only builds the application pays for no torch.
        from deployments.stage_loading import load_stage
        from fv_ray.stage_loading import warm_up_stage_one
        from fv_ray.stage_one import StageOne

        self._attention_backend = config.attention_backend
        self._stage = load_stage(StageOne, checkpoint, config)
        self._runner = StageRunner("stage_one", storage_url, device_name(self._stage.device), stall_s=config.stall_s)
        warm_up_stage_one(self._stage)

    async def run(self, work: StageWork) -> AsyncGenerator[Step | Done, None]:
        """Make the preview of a work, unless it is there already; raises as `StageRunner.run`."""
        preview = preview_work(self._stage, work.request, attention_backend=self._attention_backend, salt=work.salt)
        async with aclosing(self._runner.run(preview.key, preview.make)) as running:
            async for told in running:
                yield told

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        self._runner.check()
