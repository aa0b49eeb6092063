"""DEG_latent: noise on the latents that stage two starts from, the same function in serving and in training."""

import torch
from torch import Tensor

from fv_ray.noise_schedule import full_table


def degrade_latents(latents_BFCHW: Tensor, noise_BFCHW: Tensor, noise_level: Tensor) -> Tensor:
    """z0 = a Z + sqrt(1 - a^2) n with a the signal level of each sample's `noise_level` (paper eq. 2).

    Args:
        latents_BFCHW: Z, scaled VAE latents of the upsampled preview.
        noise_BFCHW: n, standard normal, of the same shape.
        noise_level: (B,) integers in [0, 1000); 675 keeps a = 0.264 of the signal.
    """
    a, sigma = signal_levels(noise_level, latents_BFCHW)
    return a * latents_BFCHW + sigma * noise_BFCHW


def signal_levels(indices_B: Tensor, like_BFCHW: Tensor) -> tuple[Tensor, Tensor]:
    """a and sqrt(1 - a^2) of the zero-terminal-SNR table at (B,) indices, shaped to weigh latents on their device."""
    table = torch.from_numpy(full_table()).to(like_BFCHW.device)
    a = table[indices_B.to(table.device)].view(-1, 1, 1, 1, 1)
    return a, torch.sqrt(1 - a * a)
