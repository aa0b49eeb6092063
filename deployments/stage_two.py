"""Stage two's replica: a stored preview to a stored video."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from deployments.config import StageConfig
from deployments.stage_loading import load_stage, warm_up_request
from deployments.stage_runner import StageRunner
from deployments.stage_work import Done, StageWork, Step
from fv_ray.errors import InputError
from fv_ray.latents import latents_shape
from fv_ray.preview_folder import PREVIEW_FILE, read_preview
from fv_ray.results import make_video
from fv_ray.stage_two import StageTwo
from fv_ray.types import OnProgress, Preview, VideoRequest
from fv_ray.video_io import Encoding
from fv_ray.work_key import stage_two_work_key


class StageTwoReplica:
    """Holds stage two's weights; ready when they are loaded and warm."""

    def __init__(self, checkpoint: Path, storage_url: str, config: StageConfig) -> None:
        self._attention_backend = config.attention_backend
        self._stage = load_stage(StageTwo, checkpoint, config)
        self._runner = StageRunner("stage_two", storage_url, self._stage.device, stall_s=config.stall_s)
        request = warm_up_request(self._stage.checkpoint)
        self._stage.refine(request, self._blank_preview(request))

    async def run(self, work: StageWork) -> AsyncGenerator[Step | Done, None]:
        """Make the video of a work's preview, unless it is there already; raises as `StageRunner.run`."""
        if work.preview is None or PREVIEW_FILE not in work.preview.artifacts:
            raise InputError(f"the work of {work.video_id} has no preview; stage two needs one: run stage one first")
        latents = work.preview.artifacts[PREVIEW_FILE]
        encoding = Encoding()
        key = stage_two_work_key(
            work.request,
            self._stage.checkpoint.digest,
            preview_sha256=latents.sha256,
            encoding=encoding,
            salt=work.salt,
        )

        def make(given: Path, made: Path, on_progress: OnProgress) -> None:
            make_video(
                self._stage,
                work.request,
                read_preview(given),
                made,
                encoding,
                attention_backend=self._attention_backend,
                on_progress=on_progress,
            )

        async with aclosing(self._runner.run(key, make, {PREVIEW_FILE: latents})) as running:
            async for told in running:
                yield told

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        self._runner.check()

    def _blank_preview(self, request: VideoRequest) -> Preview:
        checkpoint, sampling = self._stage.checkpoint, request.stage_one
        channels = self._stage.transformer.config.out_channels
        shape = latents_shape(sampling.num_frames, channels, sampling.height, sampling.width)
        return Preview(
            request=request,
            latents_FCHW=np.zeros(shape, np.float32),
            latents_scaling_factor=checkpoint.stage_one_scaling_factor,
            checkpoint_digest=checkpoint.digest,
            fps=checkpoint.fps,
        )
