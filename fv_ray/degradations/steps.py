"""What a pixel degradation may do: the steps of a chain as values, with the ranges of their parameters.

Nothing is done here (`pixel.py` does) and nothing is named here (`recipes.py` does).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fv_ray.degradations.compression import VideoCodec
from fv_ray.degradations.draws import Choice, Walk, check_probability, check_within
from fv_ray.degradations.kernels import check_size

Interpolation = Literal["area", "bilinear", "bicubic"]

TINY = 1e-3
"""Below it a kernel's parameters mean nothing."""
SMALL_KERNEL = 13
"""Kernels below this size cannot hold the sinc of a low cutoff [Real-ESRGAN; mmagic, RandomBlur]."""


class KernelFamily(NamedTuple):
    """What a blur kernel looks like."""

    profile: Literal["gaussian", "generalised", "plateau", "sinc"]
    is_isotropic: bool = True


@dataclass(frozen=True)
class Blur:
    """Convolve each frame with a kernel of its own; size and family are the clip's."""

    sizes: Choice[int]
    families: Choice[KernelFamily]
    sigma: Walk
    """Pixels, of each axis."""
    angle: Walk
    """Radians."""
    beta_generalised: Walk
    beta_plateau: Walk
    omega: Walk
    """Cutoff of the sinc, radians a pixel."""
    omega_small: Walk
    """The same, for sizes below `SMALL_KERNEL`."""
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        for size in self.sizes.options:
            check_size(size)
        check_within("sigma", self.sigma, TINY)
        check_within("beta_generalised", self.beta_generalised, TINY)
        check_within("beta_plateau", self.beta_plateau, TINY)
        check_within("omega", self.omega, TINY, math.pi)
        check_within("omega_small", self.omega_small, TINY, math.pi)


@dataclass(frozen=True)
class Shrink:
    """Resize all frames to one size: that of the clip as it was given, divided by a factor."""

    factor: Walk
    """Drawn once for the clip."""
    interpolations: Choice[Interpolation]
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_within("factor", self.factor, 1)


@dataclass(frozen=True)
class Resize:
    """Resize each frame by a scale of its own, relative to the size that the first frame has, to even sides."""

    scales: Choice[Walk]
    """One of these walks is the clip's."""
    interpolations: Choice[Interpolation]
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        for scale in self.scales.options:
            check_within("scale", scale, TINY)


@dataclass(frozen=True)
class Noise:
    """Add Gaussian or Poisson noise, new in each frame; the kind is the clip's."""

    gaussian_sigma: Walk
    """In 8-bit levels."""
    poisson_scale: Walk
    """1 is the noise of `PHOTONS` photons in white."""
    poisson_probability: float
    grey_probability: float
    """Of the same noise in all three channels."""
    probability: float = 1.0

    def __post_init__(self) -> None:
        for probability in (self.probability, self.poisson_probability, self.grey_probability):
            check_probability(probability)
        check_within("gaussian_sigma", self.gaussian_sigma, 0)
        check_within("poisson_scale", self.poisson_scale, 0)


@dataclass(frozen=True)
class Jpeg:
    """Compress each frame as JPEG."""

    quality: Walk
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_within("quality", self.quality, 1, 95)  # Pillow: above 95 nothing is gained


@dataclass(frozen=True)
class VideoCompression:
    """Compress the clip as a video; frames of other sizes are resized to the first one's, with even sides."""

    codecs: Choice[VideoCodec]
    bits_per_pixel: Walk
    """Drawn once; of a frame of the clip as it was given, whatever size it has become."""
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_within("bits_per_pixel", self.bits_per_pixel, 0)


@dataclass(frozen=True)
class Shuffled:
    """Run groups of steps in random order; within a group the order stays."""

    groups: tuple[tuple[Step, ...], ...]


SingleStep = Blur | Shrink | Resize | Noise | Jpeg | VideoCompression
Step = SingleStep | Shuffled


@dataclass(frozen=True)
class Recipe:
    """One of two branches for each clip, each a chain of steps; then back to the clip's size."""

    weak: tuple[Step, ...]
    strong: tuple[Step, ...]
    strong_probability: float

    def __post_init__(self) -> None:
        check_probability(self.strong_probability)
