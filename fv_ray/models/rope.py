"""Rotary positions of video tokens: plain integers along time, height and width."""

import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor


def rotary_positions(
    latents_shape: torch.Size, patch_size: int, head_dim: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (tokens, head_dim) float32, tokens in the order time, height, width.

    FlashVideo counts 0, 1, 2, ... at every size, which is what lets stage two work above its training resolution
    (paper section 3.3, figure 8); CogVideoX's pipelines rescale positions to a base grid instead.

    Args:
        latents_shape: (B, F, C, H, W).
        patch_size: latents pixels along each side of a token.
        head_dim: size of an attention head, split 1/4, 3/8, 3/8 between the axes.
        device: where the tables are wanted.
    """
    _, num_frames, _, height, width = latents_shape
    grid = (height // patch_size, width // patch_size)
    return get_3d_rotary_pos_embed(head_dim, None, grid, num_frames, grid_type="slice", max_size=grid, device=device)
