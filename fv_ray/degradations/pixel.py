"""DEG_pixel: a clean clip to a degraded one of the same size, the input that stage two learns to refine.

What may happen is a `Recipe` (named ones are in `recipes.py`); how it happens in a clip follows from a generator.
Between steps a clip is a list of float32 frames (C, H, W), since a walking scale gives each a size of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fv_ray import pixels
from fv_ray.degradations import kernels
from fv_ray.degradations.compression import compress_jpeg, compress_video
from fv_ray.degradations.draws import draw_chance, draw_choice, draw_generator, draw_order, draw_walk
from fv_ray.degradations.steps import (
    SMALL_KERNEL,
    Blur,
    Interpolation,
    Jpeg,
    Noise,
    Recipe,
    Resize,
    Shrink,
    Shuffled,
    SingleStep,
    Step,
    VideoCompression,
)
from fv_ray.errors import InputError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
PHOTONS = 256
"""Of a white pixel with Poisson noise of scale 1 [Real-ESRGAN: the levels of an 8-bit picture]."""


def degrade_clip(frames_CFHW: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Degrade a clip as a recipe says.

    Takes one draw from `generator` whatever the recipe; each step then has a generator of its own, so that a step
    switched on or off by its probability changes no other step's draws. The end is `pixels.resize`, which brings
    stage one's frames to stage two in serving.

    Args:
        frames_CFHW: RGB, float, -1..1 nominal.
        recipe: what may happen.
        generator: on the CPU, wherever the frames are.

    Returns:
        Frames of the same shape, dtype and device, within -1..1.

    Raises:
        InputError: the frames or the generator are not of this kind.
    """
    _check_frames(frames_CFHW)
    if generator.device.type != "cpu":
        raise InputError(
            f"the generator is on {generator.device}; allowed is the CPU, so that a seed means the same everywhere: "
            "give torch.Generator('cpu')"
        )
    _, _, height, width = frames_CFHW.shape
    own = draw_generator(generator)
    steps = recipe.strong if draw_chance(recipe.strong_probability, own) else recipe.weak
    clip = _run(steps, list(frames_CFHW.float().unbind(1)), (height, width), own)
    restored = [pixels.resize(frame_CHW[None, :, None], height, width)[0, :, 0] for frame_CHW in clip]
    return torch.stack(restored, dim=1).to(frames_CFHW.dtype)


def draw_kernels(blur: Blur, num_frames: int, generator: torch.Generator) -> Tensor:
    """The kernels of a clip's frames, (F, size, size), on the CPU."""
    size = draw_choice(blur.sizes, generator)
    family = draw_choice(blur.families, generator)
    if family.profile == "sinc":
        omega = blur.omega_small if size < SMALL_KERNEL else blur.omega
        return kernels.sinc(size, draw_walk(omega, num_frames, generator))
    sigma_x_F = draw_walk(blur.sigma, num_frames, generator)
    ellipse = kernels.circle(sigma_x_F)
    if not family.is_isotropic:
        sigma_y_F = draw_walk(blur.sigma, num_frames, generator)
        ellipse = kernels.Ellipse(sigma_x_F, sigma_y_F, draw_walk(blur.angle, num_frames, generator))
    if family.profile == "generalised":
        return kernels.generalised_gaussian(size, ellipse, draw_walk(blur.beta_generalised, num_frames, generator))
    if family.profile == "plateau":
        return kernels.plateau(size, ellipse, draw_walk(blur.beta_plateau, num_frames, generator))
    return kernels.gaussian(size, ellipse)


def _run(
    steps: tuple[Step, ...], clip: list[Tensor], size: tuple[int, int], generator: torch.Generator
) -> list[Tensor]:
    """Run a chain on a clip whose frames had `size` (height, width) when it was given."""
    for step in steps:
        own = draw_generator(generator)
        if isinstance(step, Shuffled):
            generators = [draw_generator(own) for _ in step.groups]
            for index in draw_order(len(step.groups), own):
                clip = _run(step.groups[index], clip, size, generators[index])
        elif draw_chance(step.probability, own):
            clip = _apply(step, clip, size, own)
    return clip


def _apply(step: SingleStep, clip: list[Tensor], size: tuple[int, int], generator: torch.Generator) -> list[Tensor]:
    match step:
        case Blur():
            return [_convolve(*pair) for pair in zip(clip, draw_kernels(step, len(clip), generator), strict=True)]
        case Shrink():
            return _shrink(step, clip, size, generator)
        case Resize():
            return _resize(step, clip, generator)
        case Noise():
            return _add_noise(step, clip, generator)
        case Jpeg():
            qualities = draw_walk(step.quality, len(clip), generator).round().int().tolist()
            return [compress_jpeg(*pair) for pair in zip(clip, qualities, strict=True)]
        case VideoCompression():
            return _compress(step, clip, size, generator)


def _convolve(frame_CHW: Tensor, kernel_HW: Tensor) -> Tensor:
    """Filter every channel; beyond its border a frame is mirrored, as often as the kernel reaches."""
    (channels, height, width), size = frame_CHW.shape, len(kernel_HW)
    rows, columns = (_mirrored(length, size // 2).to(frame_CHW.device) for length in (height, width))
    padded = frame_CHW.index_select(1, rows).index_select(2, columns)
    weight = kernel_HW.to(frame_CHW.device).expand(channels, 1, size, size)
    return F.conv2d(padded[None], weight, groups=channels)[0]


def _mirrored(length: int, padding: int) -> Tensor:
    """Indices of a side with `padding` more at both ends, reflected without repeating the border."""
    period = max(2 * (length - 1), 1)
    distance = torch.arange(-padding, length + padding).abs() % period
    return torch.minimum(distance, period - distance) if length > 1 else torch.zeros_like(distance)


def _interpolate(frame_CHW: Tensor, height: int, width: int, interpolation: Interpolation) -> Tensor:
    antialias = interpolation != "area"  # area averages all pixels anyway
    return F.interpolate(frame_CHW[None], size=(height, width), mode=interpolation, antialias=antialias)[0]


def _shrink(step: Shrink, clip: list[Tensor], size: tuple[int, int], generator: torch.Generator) -> list[Tensor]:
    interpolation = draw_choice(step.interpolations, generator)
    factor = float(draw_walk(step.factor, 1, generator))
    height, width = (max(1, int(side / factor)) for side in size)
    return [_interpolate(frame, height, width, interpolation) for frame in clip]


def _resize(step: Resize, clip: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    interpolation = draw_choice(step.interpolations, generator)
    scales = draw_walk(draw_choice(step.scales, generator), len(clip), generator).tolist()
    _, height, width = clip[0].shape
    return [
        _interpolate(frame, _even(height * scale), _even(width * scale), interpolation)
        for frame, scale in zip(clip, scales, strict=True)
    ]


def _add_noise(step: Noise, clip: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Noise is drawn on the CPU, also where the frames are elsewhere."""
    is_poisson = draw_chance(step.poisson_probability, generator)
    is_grey = draw_chance(step.grey_probability, generator)
    strengths = draw_walk(step.poisson_scale if is_poisson else step.gaussian_sigma, len(clip), generator).tolist()
    noisy = []
    for frame, strength in zip(clip, strengths, strict=True):
        source = frame.cpu().clamp(-1, 1)
        if is_grey:
            source = torch.einsum("chw,c->hw", source, torch.tensor(LUMA))[None]
        if is_poisson:
            light = ((source + 1) / 2).clamp(min=0)  # the grey of black may round below it
            noise = 2 * strength * (torch.poisson(light * PHOTONS, generator=generator) / PHOTONS - light)
        else:
            noise = torch.randn(source.shape, generator=generator) * (strength / 127.5)
        noisy.append(frame + noise.to(frame.device))
    return noisy


def _compress(
    step: VideoCompression, clip: list[Tensor], size: tuple[int, int], generator: torch.Generator
) -> list[Tensor]:
    codec = draw_choice(step.codecs, generator)
    bits_per_frame = float(draw_walk(step.bits_per_pixel, 1, generator)) * size[0] * size[1]
    height, width = (_even(side) for side in clip[0].shape[1:])
    return compress_video(
        [_interpolate(frame, height, width, "bilinear") for frame in clip], codec, round(bits_per_frame)
    )


def _even(side: float) -> int:
    return max(2, 2 * int(side / 2))


def _check_frames(frames: Tensor) -> None:
    if not frames.is_floating_point() or frames.ndim != 4 or frames.shape[0] != 3 or not frames.numel():
        raise InputError(
            f"the frames are {frames.dtype} of shape {tuple(frames.shape)}; allowed are float RGB frames (3, F, H, W), "
            "-1..1, none of the sizes 0: convert 8-bit frames first, and give the clips of a batch one by one"
        )
