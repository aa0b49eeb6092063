"""Both stages in one process: `VideoRequest -> Preview -> Video`."""

from pathlib import Path
from typing import Self

import torch

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.models.loading import load_stage_two_transformer
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import OnProgress, Video, VideoRequest


class TextToVideo:
    """Stage one and stage two around one text encoder and one VAE."""

    def __init__(self, stage_one: StageOne, stage_two: StageTwo) -> None:
        self.stage_one = stage_one
        self.stage_two = stage_two

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """Load a folder that `fv-ray convert` wrote.

        Raises:
            CheckpointError: naming what is missing or wrong in it.
        """
        stage_one = StageOne.from_pretrained(folder, device=device, dtype=dtype)
        stage_two = StageTwo(
            checkpoint=stage_one.checkpoint,
            transformer=load_stage_two_transformer(folder, device=device, dtype=dtype),
            vae=stage_one.vae,
            text_encoder=stage_one.text_encoder,
        )
        return cls(stage_one, stage_two)

    @property
    def checkpoint(self) -> CheckpointInfo:
        """The checkpoint that both stages hold."""
        return self.stage_one.checkpoint

    def generate(self, request: VideoRequest, *, on_progress: OnProgress | None = None) -> Video:
        """Make a video in one go; raise from `on_progress` to cancel.

        Raises:
            InputError: the checkpoint cannot make what is asked for.
            NumericalError: latents are not finite.
        """
        preview = self.stage_one.generate(request, on_progress=on_progress)
        return self.stage_two.refine(request, preview, on_progress=on_progress)
