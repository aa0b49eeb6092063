"""Stage two's replica: a stored preview to a stored video."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from deployments.config import StageConfig
from deployments.stage_runner import StageRunner
from deployments.stage_work import Done, StageWork, Step
from fv_ray.errors import InputError
from fv_ray.works import device_name, video_work


class StageTwoReplica:
    """Holds stage two's weights; ready when they are loaded and warm."""

    def __init__(self, checkpoint: Path, storage_url: str, config: StageConfig) -> None:
        # Here, so that who only builds the application pays for no torch.
        from deployments.stage_loading import load_stage
        from fv_ray.stage_loading import warm_up_stage_two
        from fv_ray.stage_two import StageTwo

        self._attention_backend = config.attention_backend
        self._stage = load_stage(StageTwo, checkpoint, config)
        self._runner = StageRunner("stage_two", storage_url, device_name(self._stage.device), stall_s=config.stall_s)
        warm_up_stage_two(self._stage)

    async def run(self, work: StageWork) -> AsyncGenerator[Step | Done, None]:
        """Make the video of a work's preview, unless it is there already; raises as `StageRunner.run`."""
        if work.preview is None:
            raise InputError(f"the work of {work.video_id} has no preview; stage two needs one: run stage one first")
        video = video_work(
            self._stage, work.request, work.preview, attention_backend=self._attention_backend, salt=work.salt
        )
        async with aclosing(self._runner.run(video.key, video.make, video.inputs)) as running:
            async for told in running:
                yield told

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        self._runner.check()
