"""DEG_latent: noise on the latents that stage two starts from, the same function in serving and in training.

Serving asks for one level; training draws levels from a range.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class NoiseLevels:
    """The levels that training draws from, both ends included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < NUM_TRAIN_TIMESTEPS:
            raise InputError(
                f"the noise levels are {self.low} to {self.high}; allowed are 0 to {NUM_TRAIN_TIMESTEPS - 1} in rising "
                "order: swap or correct them"
            )


def paper_noise_levels(phase: int, iteration: int) -> NoiseLevels:
    """The published curriculum (paper 4.2): wide at first, then narrow around the 675 of inference.

    It is for 49 frames. Below 400 the model copies details across frames, above 800 it loses what the preview shows
    (paper 3.3); 17 frames needed 500 only (paper 6.1).

    Args:
        phase: 1 to 4: images, images with videos, videos at full size, hand-picked videos.
        iteration: of that phase, from 0.
    """
    if phase not in range(1, 5) or iteration < 0:
        raise InputError(
            f"this is iteration {iteration} of phase {phase}; allowed are iterations from 0 of the phases 1 to 4: "
            "count iterations anew in each phase"
        )
    is_wide = phase < 3 or (phase == 3 and iteration < 1000)
    return NoiseLevels(600, 900) if is_wide else NoiseLevels(650, 750)


def draw_noise_levels(
    levels: NoiseLevels, batch_size: int, generator: torch.Generator, *, rank: int = 0, world_size: int = 1
) -> Tensor:
    """Draw one level a sample, (B,) int64 on the CPU, stratified over all samples of all ranks.

    The range is cut into one equal part a sample of the global batch, and this rank's samples take neighbouring parts
    [authors' training draft, for one sample a rank]: every iteration sees the whole range, with less variance in the
    gradient than independent draws.

    Args:
        levels: the range.
        batch_size: samples of this rank, as many as of every other.
        generator: of this rank, on the CPU.
        rank: of this process, from 0.
        world_size: number of ranks.
    """
    if batch_size < 1 or not 0 <= rank < world_size:
        raise InputError(
            f"this is rank {rank} of {world_size} with a batch of {batch_size}; allowed are ranks from 0 below the "
            "number of ranks and a batch of one or more: correct them"
        )
    parts = rank * batch_size + torch.arange(batch_size, dtype=torch.float64)
    positions = (parts + torch.rand(batch_size, generator=generator, dtype=torch.float64)) / (world_size * batch_size)
    drawn = levels.low + (positions * (levels.high + 1 - levels.low)).long()
    return drawn.clamp(max=levels.high)  # a position may round up to 1


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
