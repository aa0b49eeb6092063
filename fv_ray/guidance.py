"""Classifier-free guidance; pure functions."""

import math

import torch
from torch import Tensor

from fv_ray.errors import InputError

DYNAMIC_GUIDANCE_EXPONENT = 5  # released configuration of stage one


def check_guidance(guidance_scale: float) -> None:
    """Refuse a guidance scale that is no number.

    Raises:
        InputError: it is NaN or infinite.
    """
    if not math.isfinite(guidance_scale):
        raise InputError(
            f"guidance_scale is {guidance_scale}; it must be a finite number: leave it out for the default"
        )


def guide(unconditional: Tensor, conditional: Tensor, scale: Tensor | float) -> Tensor:
    """Move from the unconditional to the conditional prediction and `scale` times as far."""
    return unconditional + scale * (conditional - unconditional)


def with_unconditional(prompt_embeds_BLD: Tensor) -> Tensor:
    """The unconditional embeddings and then the prompts', (2 B, L, D): unconditional is all zeros."""
    return torch.cat([torch.zeros_like(prompt_embeds_BLD), prompt_embeds_BLD])


def dynamic_guidance_scales(timesteps: Tensor, num_inference_steps: int, guidance_scale: float) -> Tensor:
    """Stage one's guidance weight at each step, float64, in [1, 1 + guidance_scale].

    w = 1 + scale (1 - cos(pi ((N - t) / N)^5)) / 2 with the *timestep* t in 0..999 where the step index was meant: the
    argument is huge and w jumps about. The weights were sampled like this, and so do CogVideoX and diffusers. float32
    is off by up to 4.7, hence float64.
    """
    n = num_inference_steps
    # Python's arithmetic: the last bit of the power already moves the weight.
    phases = [math.pi * ((n - t) / n) ** DYNAMIC_GUIDANCE_EXPONENT for t in timesteps.tolist()]
    return torch.tensor([1 + guidance_scale * (1 - math.cos(p)) / 2 for p in phases], dtype=torch.float64)
