"""Frames as tensors: resizing on the way into stage two, 8-bit pictures on the way out to people."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fv_ray.errors import InputError


def resize(frames_BCFHW: Tensor, height: int, width: int) -> Tensor:
    """Resize each frame, bilinear with antialiasing, after clamping to [-1, 1] as the released hand-over does.

    Args:
        frames_BCFHW: float frames as the VAE decodes them, -1..1 nominal.
        height: pixels.
        width: pixels.

    Raises:
        InputError: the frames are not floats.
    """
    if not frames_BCFHW.is_floating_point():
        raise InputError(f"frames are {frames_BCFHW.dtype}; they must be floats in -1..1: scale 8-bit pictures first")
    batch = frames_BCFHW.shape[0]
    frames = frames_BCFHW.float().clamp(-1, 1).transpose(1, 2).flatten(0, 1)
    frames = F.interpolate(frames, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return torch.unflatten(frames, 0, (batch, -1)).transpose(1, 2)


def to_uint8(frames_CFHW: Tensor) -> np.ndarray:
    """One clip's float frames, -1..1 nominal, as uint8 (F, H, W, C), rounded to nearest."""
    scaled = ((frames_CFHW.float() + 1) * 127.5).round_().clamp_(0, 255).byte()
    return scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()
