"""Named pixel degradations. Each number names its source.

[paper]   FlashVideo, arXiv 2502.05179: DEG_pixel is "blur and resize operations with randomized strengths"
[draft]   the authors' training draft: two branches, the weak one a bilinear resize down and up
[mmagic]  realbasicvsr_wogan-c64b20-2x30x8_8xb2-lr1e-4-300k_reds.py, which the authors point to (their issue 3)
[chosen]  ours, since no source says: the reason stands beside it
"""

import math
from dataclasses import replace

from fv_ray.degradations.draws import Choice, Walk, evenly
from fv_ray.degradations.steps import (
    Blur,
    Interpolation,
    Jpeg,
    KernelFamily,
    Noise,
    Recipe,
    Resize,
    Shrink,
    Shuffled,
    Step,
    VideoCompression,
)

STRONG_PROBABILITY = 0.5  # [draft] aug_prob
WEAK_FACTOR = Walk(4, 8)  # [draft] scale_range; its default, 4, is the factor between the stages' sizes

KERNEL_FAMILIES = Choice(  # [mmagic] kernel_list, kernel_prob
    (
        KernelFamily("gaussian"),
        KernelFamily("gaussian", is_isotropic=False),
        KernelFamily("generalised"),
        KernelFamily("generalised", is_isotropic=False),
        KernelFamily("plateau"),
        KernelFamily("plateau", is_isotropic=False),
        KernelFamily("sinc"),
    ),
    (0.405, 0.225, 0.108, 0.027, 0.108, 0.027, 0.1),
)
FIRST_BLUR = Blur(  # [mmagic] the first RandomBlur
    sizes=evenly(7, 9, 11, 13, 15, 17, 19, 21),
    families=KERNEL_FAMILIES,
    sigma=Walk(0.2, 3, step=0.02),
    angle=Walk(-math.pi, math.pi, step=math.pi / 10),
    beta_generalised=Walk(0.5, 4, step=0.05),
    beta_plateau=Walk(1, 2, step=0.1),
    omega=Walk(math.pi / 5, math.pi, step=math.pi / 50),  # [mmagic] RandomBlur's own where the configuration has none
    omega_small=Walk(math.pi / 3, math.pi, step=math.pi / 50),
)
SECOND_BLUR = replace(FIRST_BLUR, sigma=Walk(0.2, 1.5, step=0.02), probability=0.8)  # [mmagic] the second
FINAL_SINC = replace(  # [mmagic] the third
    SECOND_BLUR,
    families=evenly(KernelFamily("sinc")),
    omega=Walk(math.pi / 3, math.pi, step=math.pi / 50),
)
INTERPOLATIONS: Choice[Interpolation] = evenly("area", "bilinear", "bicubic")  # [mmagic] resize_opt, resize_prob

STRONG_RESIZE = Resize(
    scales=evenly(  # [chosen] half below 1/4 and half above: the median is the factor between the stages' sizes
        Walk(1 / 8, 1 / 4, step=0.015),  # [draft] to 1/8, as the weak branch; [mmagic] step of the first resize
        Walk(1 / 4, 1 / 3, step=0.015),  # [chosen] to 1/3: some clips are better than stage one's
    ),
    interpolations=INTERPOLATIONS,
)


def flashvideo() -> Recipe:
    """Blur and resize only, as the paper says; stage one's frames have no noise and were not compressed."""
    return Recipe(_weak(), (FIRST_BLUR, STRONG_RESIZE, SECOND_BLUR), STRONG_PROBABILITY)


def second_order(*, noise: float = 0, jpeg: float = 0, video_compression: float = 0) -> Recipe:
    """RealBasicVSR's whole chain as the strong branch, for clips from elsewhere than stage one.

    Args:
        noise: probability of each of the two noises; [mmagic] 1.
        jpeg: of each of the two JPEG compressions; [mmagic] 1.
        video_compression: of each of the two video compressions; [mmagic] 1.
    """
    first_noise = Noise(
        gaussian_sigma=Walk(1, 30, step=0.1),  # [mmagic] and so below
        poisson_scale=Walk(0.05, 3, step=0.005),
        poisson_probability=0.5,
        grey_probability=0.4,
        probability=noise,
    )
    compress_frames = Jpeg(quality=Walk(30, 95, step=3), probability=jpeg)
    compress_clip = VideoCompression(
        codecs=Choice(("libx264", "mpeg4"), (2 / 3, 1 / 3)),  # [mmagic] libx264, h264, mpeg4: FFmpeg's h264 is libx264
        bits_per_pixel=Walk(1e4 / 256**2, 1e5 / 256**2),  # [mmagic] bits a frame of the configuration's 256x256 crops
        probability=video_compression,
    )
    steps: tuple[Step, ...] = (
        FIRST_BLUR,
        _random_resize((0.15, 1.5), step=0.015, down_up_keep=(0.7, 0.2, 0.1)),
        first_noise,
        compress_frames,
        compress_clip,
        SECOND_BLUR,
        _random_resize((0.3, 1.2), step=0.03, down_up_keep=(0.4, 0.3, 0.3)),
        replace(first_noise, gaussian_sigma=Walk(1, 25, step=0.1), poisson_scale=Walk(0.05, 2.5, step=0.005)),
        compress_frames,
        Shuffled(((compress_clip,), (Shrink(Walk(4, 4), INTERPOLATIONS), FINAL_SINC))),  # [mmagic] 64x64 of 256x256
    )
    return Recipe(_weak(), steps, STRONG_PROBABILITY)


def _weak() -> tuple[Step, ...]:
    return (Shrink(WEAK_FACTOR, evenly("bilinear")),)  # [draft] antialiased, down and up


def _random_resize(scale: tuple[float, float], *, step: float, down_up_keep: tuple[float, float, float]) -> Resize:
    low, high = scale
    return Resize(Choice((Walk(low, 1, step), Walk(1, high, step), Walk(1, 1)), down_up_keep), INTERPOLATIONS)
