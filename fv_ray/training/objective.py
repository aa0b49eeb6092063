"""What each part of the model is trained on: pure functions from clean data and noise to inputs, targets and losses.

Every draw is an argument, so that a loss can be repeated. Knows nothing of optimisers, devices and files.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fv_ray import flow
from fv_ray.degradations.latent import degrade_latents, signal_levels


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a transformer is given and what it must say; both (B, F, C, H, W)."""

    noisy_BFCHW: Tensor
    target_BFCHW: Tensor
    timesteps_B: Tensor
    """What the transformer is told: integers 0..999 in stage one, 1000 (1 - t) in stage two."""


def stage_one_prediction(latents_BFCHW: Tensor, noise_BFCHW: Tensor, timesteps_B: Tensor) -> Prediction:
    """v-prediction on the zero-terminal-SNR schedule: x = a z + sqrt(1 - a^2) n, v = a n - sqrt(1 - a^2) z.

    The released loss weighs the error of the clean latents by 1 / (1 - a^2), which is the plain error of v (Salimans
    and Ho 2022, arXiv 2202.00512, appendix D).

    Args:
        latents_BFCHW: clean latents z, multiplied by stage one's scaling factor.
        noise_BFCHW: n, standard normal.
        timesteps_B: integers 0..999; 999 is pure noise.
    """
    a, sigma = signal_levels(timesteps_B, latents_BFCHW)
    noisy = a * latents_BFCHW + sigma * noise_BFCHW
    return Prediction(noisy, a * noise_BFCHW - sigma * latents_BFCHW, timesteps_B)


def stage_two_prediction(
    degraded_BFCHW: Tensor, clean_BFCHW: Tensor, noise_BFCHW: Tensor, noise_level_B: Tensor, times_B: Tensor
) -> Prediction:
    """Flow matching from the noised latents of the degraded clip to those of the clean one (paper algorithm 1).

    z0 = DEG_latent(degraded), z_t = (1 - t) z0 + t z1, target z1 - z0.

    Args:
        degraded_BFCHW: latents of the clip after DEG_pixel, multiplied by stage two's scaling factor.
        clean_BFCHW: z1, latents of the clip itself, likewise.
        noise_BFCHW: of the latent degradation, standard normal.
        noise_level_B: integers 0..999, told to the transformer as well.
        times_B: t in [0, 1], from `draw_times`.
    """
    z0 = degrade_latents(degraded_BFCHW, noise_BFCHW, noise_level_B)
    t = times_B.view(-1, 1, 1, 1, 1)
    return Prediction(flow.interpolate(z0, clean_BFCHW, t), flow.velocity(z0, clean_BFCHW), flow.timesteps(times_B))


def prediction_loss(predicted_BFCHW: Tensor, target_BFCHW: Tensor) -> Tensor:
    """Mean squared error in float32, unweighted (both stages)."""
    return F.mse_loss(predicted_BFCHW.float(), target_BFCHW.float())


def draw_times(batch: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """t in [0, 1), (batch,): uniform, or bent by the sampler's time shift; the paper's training is uniform."""
    u = torch.rand(batch, generator=generator, dtype=torch.float64)
    return flow.shifted(u, shift).float()


def draw_timesteps(batch: int, generator: torch.Generator, rank: int = 0, world_size: int = 1) -> Tensor:
    """Integers 0..999, (batch,), uniform within the rank's share of the range: together the ranks cover it evenly."""
    u = torch.rand(batch, generator=generator, dtype=torch.float64)
    return ((rank + u) / world_size * flow.NUM_TRAIN_TIMESTEPS).long()


def drop_text(prompt_embeds_BLD: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Replace a share of the prompts by the unconditional embedding, which is all zeros (released rate 0.1)."""
    kept = torch.rand(len(prompt_embeds_BLD), generator=generator) >= probability
    return prompt_embeds_BLD * kept.view(-1, 1, 1).to(prompt_embeds_BLD)


def kl_loss(moments_BCFHW: Tensor) -> Tensor:
    """KL divergence of the VAE's posterior from the standard normal, mean over latents' elements.

    Args:
        moments_BCFHW: mean and log variance along C, as the encoder gives them.
    """
    mean, logvar = moments_BCFHW.float().chunk(2, dim=1)
    logvar = logvar.clamp(-30, 20)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def reconstruction_loss(decoded_BCFHW: Tensor, frames_BCFHW: Tensor, gradient_weight: float = 0.0) -> Tensor:
    """L1 of the frames, and of their differences between neighbouring pixels weighed by `gradient_weight`.

    The differences stand in for a perceptual loss, which would need weights from elsewhere.
    """
    decoded, frames = decoded_BCFHW.float(), frames_BCFHW.float()
    loss = F.l1_loss(decoded, frames)
    if gradient_weight:
        for axis in (-1, -2):
            loss = loss + gradient_weight * F.l1_loss(decoded.diff(dim=axis), frames.diff(dim=axis))
    return loss
