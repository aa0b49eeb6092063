"""A batch's latents: those that its data set holds, else encoded here."""

from functools import lru_cache
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from fv_ray import vae
from fv_ray.models.loading import load_vae
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws


def clean_latents(batch: Batch, checkpoint: Path, draws: SampleDraws) -> Tensor:
    """Of the clips, unscaled float32 (B, F, C, h, w)."""
    stored: Tensor | None = batch.tensors.get("latents")
    return _encoded(batch.clips, checkpoint, draws) if stored is None else stored.float()


def degraded_latents(batch: Batch, checkpoint: Path, draws: SampleDraws) -> Tensor:
    """Of the degraded clips, likewise."""
    stored: Tensor | None = batch.tensors.get("degraded_latents")
    if stored is not None:
        return stored.float()
    frames = batch.need("degraded_frames", "encode the clips with --degradation, or train on the clips themselves")
    return _encoded(frames.permute(0, 4, 1, 2, 3).float(), checkpoint, draws)


def _encoded(frames_BCFHW: Tensor, checkpoint: Path, draws: SampleDraws) -> Tensor:
    frozen = _vae(checkpoint, frames_BCFHW.device)
    return vae.encode(frozen, frames_BCFHW, noise=draws.noise).float().transpose(1, 2)


@lru_cache(maxsize=1)
def _vae(checkpoint: Path, device: torch.device) -> AutoencoderKLCogVideoX:
    return load_vae(checkpoint, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
