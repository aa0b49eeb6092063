"""DEG_latent: noise on the latents that stage two starts from, the same function in serving and in training."""

import torch
from torch import Tensor

from fv_ray.errors import InputError
from fv_ray.noise_schedule import NUM_TRAIN_TIMESTEPS, full_table


def check_noise_level(noise_level: int) -> None:
    """Refuse what is no index of the table.

    Raises:
        InputError: it is not an integer from 0 to 999.
    """
    if not isinstance(noise_level, int) or not 0 <= noise_level < NUM_TRAIN_TIMESTEPS:
        raise InputError(f"noise_level is {noise_level}; it must be an integer from 0 to {NUM_TRAIN_TIMESTEPS - 1}")


def degrade_latents(latents_BFCHW: Tensor, noise_BFCHW: Tensor, noise_level: Tensor) -> Tensor:
    """z0 = a Z + sqrt(1 - a^2) n with a the signal level of each sample's `noise_level` (paper eq. 2).

    Args:
        latents_BFCHW: Z, scaled VAE latents of the upsampled preview.
        noise_BFCHW: n, standard normal, of the same shape.
        noise_level: (B,) integers in [0, 1000); 675 keeps a = 0.264 of the signal.
    """
    signal_levels = torch.from_numpy(full_table()).to(latents_BFCHW.device)
    a = signal_levels[noise_level.to(latents_BFCHW.device)].view(-1, 1, 1, 1, 1)
    return a * latents_BFCHW + torch.sqrt(1 - a * a) * noise_BFCHW
