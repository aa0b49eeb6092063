"""A checkpoint's folder to a stage on a device, loaded and warm."""

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.latents import latents_shape
from fv_ray.models.attention import check_attention_backend
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import Preview, VideoRequest

AnyStage = TypeVar("AnyStage", StageOne, StageTwo)


def load_stage(
    stage_class: type[AnyStage], checkpoint: Path, *, device: str, dtype: str | None, attention_backend: str
) -> AnyStage:
    """Load a stage; without a dtype, in float32 on a CPU and in bfloat16 elsewhere.

    Raises:
        CheckpointError: naming what is missing or wrong in the folder.
        InputError: the attention kernel does not run here.
    """
    place = torch.device(device)
    precision = getattr(torch, dtype or ("float32" if place.type == "cpu" else "bfloat16"))
    check_attention_backend(attention_backend, place, precision)
    stage = stage_class.from_pretrained(checkpoint, device=place, dtype=precision)
    stage.transformer.set_attention_backend(attention_backend)
    return stage


def warm_up_stage_one(stage: StageOne) -> None:
    """Load kernels and take the memory that real requests will need."""
    stage.preview_frames(stage.generate(_warm_up_request(stage.checkpoint)))


def warm_up_stage_two(stage: StageTwo) -> None:
    """As `warm_up_stage_one`."""
    request = _warm_up_request(stage.checkpoint)
    stage.refine(request, _blank_preview(stage, request))


def _warm_up_request(checkpoint: CheckpointInfo) -> VideoRequest:
    """The default preset with the fewest steps."""
    fewest = {"num_inference_steps": 1}
    return checkpoint.request("a warm-up", seed=0, stage_one=fewest, stage_two=fewest)


def _blank_preview(stage: StageTwo, request: VideoRequest) -> Preview:
    checkpoint, sampling = stage.checkpoint, request.stage_one
    channels = stage.transformer.config.out_channels
    shape = latents_shape(sampling.num_frames, channels, sampling.height, sampling.width)
    return Preview(
        request=request,
        latents_FCHW=np.zeros(shape, np.float32),
        latents_scaling_factor=checkpoint.stage_one_scaling_factor,
        checkpoint_digest=checkpoint.digest,
        fps=checkpoint.fps,
    )
