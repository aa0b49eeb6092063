"""Latents: their shape for a clip's size, and the check that they are numbers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fv_ray.checkpoint import FRAMES_PER_LATENT
from fv_ray.errors import InputError, NumericalError

if TYPE_CHECKING:
    from torch import Tensor

PIXELS_PER_LATENT = 8  # the VAE's spatial compression


def latents_shape(num_frames: int, channels: int, height: int, width: int) -> tuple[int, int, int, int]:
    """(F, C, H, W) of a clip of `num_frames` frames of `height` x `width` pixels."""
    return 1 + (num_frames - 1) // FRAMES_PER_LATENT, channels, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT


def check_inputs(latents: "Tensor", prompt_embeds: "Tensor", config: "Mapping[str, Any]") -> None:
    """Refuse latents (B, F, C, H, W) or embeddings (B, L, D) that a transformer of this configuration cannot take.

    Raises:
        InputError: naming the shape and what it must be.
    """
    channels, patch, embed_dim = config["in_channels"], config["patch_size"], config["text_embed_dim"]
    shape = tuple(latents.shape)
    if len(shape) != 5 or 0 in shape or shape[2] != channels or shape[3] % patch or shape[4] % patch:
        raise InputError(
            f"latents have shape {shape}; allowed is (batch, frames, {channels}, height, width) with height and width "
            f"multiples of {patch}: make them of frames whose sides are multiples of {patch * PIXELS_PER_LATENT}"
        )
    if prompt_embeds.ndim != 3 or len(prompt_embeds) != shape[0] or prompt_embeds.shape[2] != embed_dim:
        raise InputError(
            f"prompt embeddings have shape {tuple(prompt_embeds.shape)}; allowed is ({shape[0]}, tokens, {embed_dim}): "
            "encode one prompt for each sample with this checkpoint's text encoder"
        )


def require_finite(numbers: "Tensor", part: str) -> "Tensor":
    """Return what a `part` of the model gave.

    Raises:
        NumericalError: they hold NaN or infinity.
    """
    if not bool(numbers.isfinite().all()):
        raise NumericalError(
            f"{part} gave numbers that are not finite; allowed are finite ones: "
            "check the weights, or load them in another dtype, such as float32"
        )
    return numbers
