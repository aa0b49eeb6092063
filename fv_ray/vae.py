"""Turns frames into latents and latents into frames, with the weights of a stock diffusers `AutoencoderKLCogVideoX`.

The stock module only holds the weights: its own forward functions fail at 1072x1920 and keep activations that are never
made here. The mathematics is the same up to float noise: causal 3D convolutions, in the decoder with group norms
modulated by the latents (Zheng et al. 2022, MoVQ, arXiv:2209.09002).

A group norm sees one temporal chunk and one slice at a time, so both cuts change the numbers; the defaults are the
released model's. Knows nothing of scaling factors, of 0..255 or of files, and takes no gradients.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import (
    CogVideoXCausalConv3d,
    CogVideoXDecoder3D,
    CogVideoXEncoder3D,
    CogVideoXResnetBlock3D,
    CogVideoXSpatialNorm3D,
)
from diffusers.models.downsampling import CogVideoXDownsample3D
from diffusers.models.upsampling import CogVideoXUpsample3D
from torch import Tensor, nn

from fv_ray.errors import CheckpointError, InputError
from fv_ray.noise import NoiseSource

MAX_CONV_ELEMENTS = 2**31 - 1
"""Largest tensor given to one 3D convolution: its kernels index with 32 bits, or fall back to far slower ones."""

PIECE_ELEMENTS = 2**28
"""Size of temporary results (512 MB in 16 bits): enough to fill a GPU, little beside 9.5 GB activations at 1080p."""

NUM_PAST_FRAMES = 2
"""Earlier frames that a causal convolution sees; all but the 1x1 ones have a kernel of 3 in time."""

FRAMES_PER_CHUNK = 16
LATENTS_PER_CHUNK = 2

SLICE_CONTEXT_COLUMNS = 16
"""Latent columns that each half sees of the other in the released two-slice decode."""

_Past = dict[CogVideoXCausalConv3d, Tensor]
"""The last frames that each convolution of a clip has seen; empty before the clip's first chunk."""


def encode(
    vae: AutoencoderKLCogVideoX, frames_BCFHW: Tensor, *, noise: NoiseSource, frames_per_chunk: int = FRAMES_PER_CHUNK
) -> Tensor:
    """Sample unscaled latents, with one draw of noise for each temporal chunk, in order.

    Args:
        vae: The weights; the latents get their dtype and device.
        frames_BCFHW: 1 + 4k frames in [-1, 1], height and width multiples of 8, of any dtype and on any device.
        noise: Called with (B, 16, f, H/8, W/8) for a chunk of f latents.
        frames_per_chunk: A multiple of 4; the first chunk takes the remainder too (49 frames are coded 17, 16, 16).

    Returns:
        Latents (B, 16, 1 + k, H/8, W/8): mean + exp(clamp(log variance, -30, 20) / 2) noise.

    Raises:
        InputError: for a shape or a chunk length that cannot be encoded.
        CheckpointError: for an autoencoder of another kind.
    """
    chunks = _moment_chunks(vae, frames_BCFHW, frames_per_chunk)
    return torch.cat([_sample(chunk_BCFHW, noise) for chunk_BCFHW in chunks], dim=2)


def moments(vae: AutoencoderKLCogVideoX, frames_BCFHW: Tensor, frames_per_chunk: int = FRAMES_PER_CHUNK) -> Tensor:
    """Mean and log variance of the latents, (B, 32, 1 + k, H/8, W/8); arguments and errors are those of `encode`."""
    return torch.cat(list(_moment_chunks(vae, frames_BCFHW, frames_per_chunk)), dim=2)


def decode(vae: AutoencoderKLCogVideoX, latents_BCFHW: Tensor, *, slices: int = 1) -> Tensor:
    """All frames of `decode_chunks` in one tensor."""
    return torch.cat(list(decode_chunks(vae, latents_BCFHW, slices=slices)), dim=2)


def num_decode_chunks(num_latents: int) -> int:
    """How many chunks `decode_chunks` yields."""
    return max(1, num_latents // LATENTS_PER_CHUNK)


def decode_chunks(vae: AutoencoderKLCogVideoX, latents_BCFHW: Tensor, *, slices: int = 1) -> Iterator[Tensor]:
    """Decode chunk by chunk in time, so that a caller can store frames while the next ones are made.

    An odd number of latents is decoded as 3, 2, 2, ..., an even one as 2, 2, ...; the clip's first latent gives one
    frame, each other one four.

    Args:
        vae: The weights; the frames get their dtype and device.
        latents_BCFHW: Unscaled latents (B, 16, 1 + k, h, w), of any dtype and on any device.
        slices: 1 for whole frames. 2 for the released cut of the width into halves, each decoded alone with a view of
            16 latent columns across the cut where there are as many, put side by side without blending.

    Returns:
        Chunks (B, 3, f, 8h, 8w), 1 + 4k frames in all, nominally in [-1, 1] but not clamped.

    Raises:
        InputError: at the call, for a shape or a number of slices that cannot be decoded.
        CheckpointError: at the call, for an autoencoder of another kind.
    """
    _check_shape("latents", latents_BCFHW, vae.config.latent_channels)
    return _decoded_chunks(vae, latents_BCFHW, _slice_windows(latents_BCFHW.shape[-1], slices, _checked_scale(vae)))


@torch.no_grad()  # not inference_mode: training could not save its tensors for a backward pass
def _decoded_chunks(
    vae: AutoencoderKLCogVideoX, latents_BCFHW: Tensor, windows: list[tuple[slice, slice]]
) -> Iterator[Tensor]:
    pasts: list[_Past] = [{} for _ in windows]
    for chunk_BCFHW in _time_chunks(latents_BCFHW, LATENTS_PER_CHUNK):
        parts = []
        for past, (seen, kept) in zip(pasts, windows, strict=True):
            parts.append(_run(vae.decoder, chunk_BCFHW[..., seen], past)[..., kept])
        yield torch.cat(parts, dim=-1)


@torch.no_grad()
def _moment_chunks(vae: AutoencoderKLCogVideoX, frames_BCFHW: Tensor, frames_per_chunk: int) -> Iterator[Tensor]:
    _check_shape("frames", frames_BCFHW, vae.config.in_channels)
    _check_size(frames_BCFHW, _checked_scale(vae), frames_per_chunk)
    past: _Past = {}
    for chunk_BCFHW in _time_chunks(frames_BCFHW, frames_per_chunk):
        yield _run(vae.encoder, chunk_BCFHW, past)


def _sample(moments_BCFHW: Tensor, noise: NoiseSource) -> Tensor:
    mean_BCFHW, logvar_BCFHW = moments_BCFHW.chunk(2, dim=1)
    eps_BCFHW = noise(tuple(mean_BCFHW.shape)).to(mean_BCFHW)
    return mean_BCFHW + torch.exp(0.5 * logvar_BCFHW.clamp(-30, 20)) * eps_BCFHW


def _time_chunks(x_BCFHW: Tensor, length: int) -> Sequence[Tensor]:
    """Chunks of `length`; what is left over goes to the first one."""
    num_frames = x_BCFHW.shape[2]
    first = min(length + num_frames % length, num_frames)
    return torch.split_with_sizes(x_BCFHW, [first] + [length] * ((num_frames - first) // length), dim=2)


def _slice_windows(width: int, slices: int, scale: int) -> list[tuple[slice, slice]]:
    """For each slice the latent columns it sees, and which pixel columns of its frames are kept."""
    if slices not in (1, 2) or width < slices:
        raise InputError(
            f"cannot decode latents {width} columns wide in {slices} slices; allowed are 1, or 2 of at least a column "
            "each; pass slices=1 for whole frames"
        )
    if slices == 1:
        return [(slice(0, width), slice(None))]
    half = width // 2
    left_end = half + SLICE_CONTEXT_COLUMNS if half + SLICE_CONTEXT_COLUMNS <= width else half
    right_start = half - SLICE_CONTEXT_COLUMNS if half >= SLICE_CONTEXT_COLUMNS else half
    kept_left, kept_right = slice(0, half * scale), slice((half - right_start) * scale, None)
    return [(slice(0, left_end), kept_left), (slice(right_start, width), kept_right)]


def _run(net: CogVideoXEncoder3D | CogVideoXDecoder3D, chunk_BCFHW: Tensor, past: _Past) -> Tensor:
    """Put one chunk through the encoder or the decoder, whose modules are registered in the order they run in."""
    num_lone = 0 if past else 1  # the clip's first frame or latent: scaling time leaves it alone
    z_BCFHW = chunk_BCFHW.to(net.conv_in.conv.weight)
    x_BCFHW = _causal_conv(net.conv_in, F.pad(z_BCFHW, (0, 0, 0, 0, NUM_PAST_FRAMES, 0)), past)
    for layer in net.modules():
        if isinstance(layer, CogVideoXResnetBlock3D):
            x_BCFHW = _resnet(layer, x_BCFHW, z_BCFHW, past, num_lone)
        elif isinstance(layer, (CogVideoXDownsample3D, CogVideoXUpsample3D)):
            x_BCFHW = _resize(layer, x_BCFHW, num_lone)
    x_BCFHW = _normed_and_padded(net.norm_out, x_BCFHW, z_BCFHW, num_lone)
    return _causal_conv(net.conv_out, x_BCFHW, past)


def _resnet(block: CogVideoXResnetBlock3D, x_BCFHW: Tensor, z_BCFHW: Tensor, past: _Past, num_lone: int) -> Tensor:
    # Each line drops the result of the line before: three activations live at a time, x among them.
    h_BCFHW = _normed_and_padded(block.norm1, x_BCFHW, z_BCFHW, num_lone)
    h_BCFHW = _causal_conv(block.conv1, h_BCFHW, past)
    h_BCFHW = _normed_and_padded(block.norm2, h_BCFHW, z_BCFHW, num_lone)
    h_BCFHW = _causal_conv(block.conv2, h_BCFHW, past)
    if block.in_channels != block.out_channels:
        x_BCFHW = _conv3d(block.conv_shortcut, x_BCFHW)
    return h_BCFHW.add_(x_BCFHW)


def _normed_and_padded(
    norm: nn.GroupNorm | CogVideoXSpatialNorm3D, x_BCFHW: Tensor, z_BCFHW: Tensor, num_lone: int
) -> Tensor:
    """SiLU(norm(x)) behind room for past frames, a few groups of channels at a time; only the decoder's norms see z."""
    group_norm = norm if isinstance(norm, nn.GroupNorm) else norm.norm_layer
    batch, num_channels, num_frames, height, width = x_BCFHW.shape
    padded_BCFHW = x_BCFHW.new_empty(batch, num_channels, NUM_PAST_FRAMES + num_frames, height, width)
    group_channels = num_channels // group_norm.num_groups
    step = group_channels * max(1, PIECE_ELEMENTS * group_norm.num_groups // x_BCFHW.numel())
    for start in range(0, num_channels, step):
        of = slice(start, start + step)
        weight, bias = group_norm.weight[of], group_norm.bias[of]
        y_BCFHW = F.group_norm(x_BCFHW[:, of], len(weight) // group_channels, weight, bias, group_norm.eps)
        if not isinstance(norm, nn.GroupNorm):
            convs = (norm.conv_y.conv, norm.conv_b.conv)
            gain_BCfhw, bias_BCfhw = (F.conv3d(z_BCFHW, conv.weight[of], conv.bias[of]) for conv in convs)
            _modulate_(y_BCFHW, gain_BCfhw, bias_BCfhw, num_lone)
        padded_BCFHW[:, of, NUM_PAST_FRAMES:] = F.silu(y_BCFHW, inplace=True)
    return padded_BCFHW


def _modulate_(y_BCFHW: Tensor, gain_BCfhw: Tensor, bias_BCfhw: Tensor, num_lone: int) -> None:
    """y <- gain y + bias, each latent's gain and bias over its block of frames and pixels.

    A 1x1 convolution commutes with nearest upsampling, so gain and bias never exist at full size. Only their width is
    repeated, because a long innermost dimension is fast.
    """
    height, width = gain_BCfhw.shape[3:]
    scale = y_BCFHW.shape[-1] // width
    gain_BCfhW, bias_BCfhW = (part.repeat_interleave(scale, dim=-1) for part in (gain_BCfhw, bias_BCfhw))
    for of in (slice(0, num_lone), slice(num_lone, None)):
        if num_latents := gain_BCfhW[:, :, of].shape[2]:
            y_BCFhsW = torch.unflatten(y_BCFHW[:, :, of], 3, (height, scale))
            y_BCfrhsW = torch.unflatten(y_BCFhsW, 2, (num_latents, -1))
            gain, bias = (part[:, :, of, None, :, None] for part in (gain_BCfhW, bias_BCfhW))
            torch.addcmul(bias, y_BCfrhsW, gain, out=y_BCfrhsW)


def _causal_conv(conv: CogVideoXCausalConv3d, padded_BCFHW: Tensor, past: _Past) -> Tensor:
    """Fill the room for past frames, with the last chunk's end or the clip's first frame repeated, and convolve."""
    padded_BCFHW[:, :, :NUM_PAST_FRAMES] = past.pop(conv, padded_BCFHW[:, :, NUM_PAST_FRAMES, None])
    past[conv] = padded_BCFHW[:, :, -NUM_PAST_FRAMES:].clone()
    return _conv3d(conv.conv, padded_BCFHW)


def _conv3d(conv: nn.Conv3d, x_BCFHW: Tensor) -> Tensor:
    """Convolve without padding time, in pieces which overlap by what the kernel needs; at least a frame a piece."""
    batch, _, num_frames, height, width = x_BCFHW.shape
    overlap = conv.kernel_size[0] - 1
    frame_elements = batch * max(conv.in_channels, conv.out_channels) * height * width
    step = max(1, MAX_CONV_ELEMENTS // frame_elements - overlap)
    if step >= num_frames - overlap:
        return F.conv3d(x_BCFHW, conv.weight, conv.bias, padding=conv.padding)
    y_BCFHW = x_BCFHW.new_empty(batch, conv.out_channels, num_frames - overlap, height, width)
    for start in range(0, num_frames - overlap, step):
        piece_BCFHW = x_BCFHW[:, :, start : start + step + overlap]
        y_BCFHW[:, :, start : start + step] = F.conv3d(piece_BCFHW, conv.weight, conv.bias, padding=conv.padding)
    return y_BCFHW


def _resize(layer: CogVideoXDownsample3D | CogVideoXUpsample3D, x_BCFHW: Tensor, num_lone: int) -> Tensor:
    """Halve (average pairs of frames, strided convolution) or double (nearest neighbour, convolution) the size.

    The convolution is two-dimensional, so frames that doubling the time makes equal are convolved once.
    """
    batch, _, num_frames, height, width = x_BCFHW.shape
    is_up, time_scale = isinstance(layer, CogVideoXUpsample3D), 2 if layer.compress_time else 1
    pooled, repeats = (1, time_scale) if is_up else (time_scale, 1)
    size = (2 * height, 2 * width) if is_up else (height // 2, width // 2)
    y_BCFHW = x_BCFHW.new_empty(
        batch, layer.conv.out_channels, num_lone + (num_frames - num_lone) // pooled * repeats, *size
    )
    step = max(1, PIECE_ELEMENTS // max(x_BCFHW[:, :, 0].numel(), y_BCFHW[:, :, 0].numel()))
    for part, num_in, num_out in ((slice(0, num_lone), 1, 1), (slice(num_lone, None), pooled, repeats)):
        source_BCFRHW = torch.unflatten(x_BCFHW[:, :, part], 2, (-1, num_in))
        target_BCFRHW = torch.unflatten(y_BCFHW[:, :, part], 2, (-1, num_out))
        for start in range(0, source_BCFRHW.shape[2], step):
            of = slice(start, start + step)
            frames_NCHW = source_BCFRHW[:, :, of].mean(3).transpose(1, 2).flatten(0, 1)
            frames_NCHW = F.interpolate(frames_NCHW, scale_factor=2.0) if is_up else F.pad(frames_NCHW, (0, 1, 0, 1))
            frames_BFCHW = torch.unflatten(layer.conv(frames_NCHW), 0, (batch, -1))
            target_BCFRHW[:, :, of] = frames_BFCHW.transpose(1, 2).unsqueeze(3)
    return y_BCFHW


def _checked_scale(vae: AutoencoderKLCogVideoX) -> int:
    """How many pixels wide a latent is, of an autoencoder which this module can run."""
    names = ("act_fn", "block_out_channels", "temporal_compression_ratio", "use_post_quant_conv", "use_quant_conv")
    act_fn, channels, time_scale, *quant_convs = found = [vae.config[name] for name in names]
    if act_fn not in ("silu", "swish") or len(channels) < 3 or time_scale != 4 or any(quant_convs):
        raise CheckpointError(
            f"the autoencoder's {', '.join(names)} are {', '.join(map(str, found))}; allowed are silu, three blocks or "
            "more, 4, False, False; use the autoencoder that was converted from the released 3d-vae.pt"
        )
    return int(2 ** (len(channels) - 1))


def _check_shape(name: str, x_BCFHW: Tensor, num_channels: int) -> None:
    is_shaped = x_BCFHW.ndim == 5 and x_BCFHW.shape[1] == num_channels and 0 not in x_BCFHW.shape
    if not is_shaped or not x_BCFHW.is_floating_point():
        raise InputError(
            f"{name} are {x_BCFHW.dtype} of shape {tuple(x_BCFHW.shape)}; they must be floats of shape "
            f"(batch, {num_channels}, frames, height, width), none of them 0; permute or scale them first"
        )


def _check_size(frames_BCFHW: Tensor, scale: int, frames_per_chunk: int) -> None:
    num_frames, height, width = frames_BCFHW.shape[2:]
    if num_frames % 4 != 1 or height % scale or width % scale:
        raise InputError(
            f"cannot encode {num_frames} frames of {height}x{width}; allowed are 1 + 4k, of multiples of {scale}; "
            f"cut to {(num_frames - 1) // 4 * 4 + 1} frames of such a size"
        )
    if frames_per_chunk < 4 or frames_per_chunk % 4:
        raise InputError(
            f"frames_per_chunk is {frames_per_chunk}; it must be a multiple of 4 from 4 on; 16 is the released one"
        )
