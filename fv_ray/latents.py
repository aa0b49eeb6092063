"""Latents: their shape for a clip's size, and the check that they are numbers."""

from typing import TYPE_CHECKING

from fv_ray.checkpoint import FRAMES_PER_LATENT
from fv_ray.errors import NumericalError

if TYPE_CHECKING:
    from torch import Tensor

PIXELS_PER_LATENT = 8  # the VAE's spatial compression


def latents_shape(num_frames: int, channels: int, height: int, width: int) -> tuple[int, int, int, int]:
    """(F, C, H, W) of a clip of `num_frames` frames of `height` x `width` pixels."""
    return 1 + (num_frames - 1) // FRAMES_PER_LATENT, channels, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT


def require_finite(latents: "Tensor", stage: str) -> "Tensor":
    """Return `latents`.

    Raises:
        NumericalError: they hold NaN or infinity.
    """
    if not bool(latents.isfinite().all()):
        raise NumericalError(
            f"{stage} gave latents that are not finite; allowed are finite numbers: "
            "check the weights, or load them in bfloat16 or float32"
        )
    return latents
