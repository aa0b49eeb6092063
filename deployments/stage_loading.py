"""A checkpoint's folder to a stage on a replica's device."""

from pathlib import Path
from typing import TypeVar

import torch

from deployments.config import StageConfig
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.models.attention import check_attention_backend
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import VideoRequest

AnyStage = TypeVar("AnyStage", StageOne, StageTwo)


def load_stage(stage_class: type[AnyStage], checkpoint: Path, config: StageConfig) -> AnyStage:
    """Load a stage as its configuration says.

    Raises:
        CheckpointError: naming what is missing or wrong in the folder.
        InputError: the attention kernel does not run here.
    """
    device = torch.device(config.device or ("cuda" if config.num_gpus else "cpu"))
    dtype = getattr(torch, config.dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    check_attention_backend(config.attention_backend, device, dtype)
    stage = stage_class.from_pretrained(checkpoint, device=device, dtype=dtype)
    stage.transformer.set_attention_backend(config.attention_backend)
    return stage


def warm_up_request(checkpoint: CheckpointInfo) -> VideoRequest:
    """The default preset with the fewest steps: it loads kernels and takes the memory that real requests will need."""
    fewest = {"num_inference_steps": 1}
    return checkpoint.request("a warm-up", seed=0, stage_one=fewest, stage_two=fewest)
