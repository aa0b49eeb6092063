"""Blur kernels: one normalised kernel a frame from one value a frame of each parameter.

Pure functions; which parameters, and with what chances, is not known here. All families are those of Real-ESRGAN
(arXiv 2107.10833, sections 3.1 and 3.3). Kernels are float32, (F, size, size), computed in float64; each sums to 1 and
stays the same when turned by half a turn, so that convolution and correlation are one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fv_ray.errors import InputError


@dataclass(frozen=True, eq=False)
class Ellipse:
    """How far a kernel reaches in which direction, for each frame."""

    sigma_x_F: Tensor
    """Pixels, along the x axis before it is turned."""
    sigma_y_F: Tensor
    """Pixels, along the y axis before it is turned."""
    angle_F: Tensor
    """Radians, by which the axes are turned from x (right) towards y (down)."""

    def __post_init__(self) -> None:
        _check_parameters(sigma_x=self.sigma_x_F, sigma_y=self.sigma_y_F)
        shapes = {tuple(values.shape) for values in (self.sigma_x_F, self.sigma_y_F, self.angle_F)}
        if len(shapes) > 1:
            raise InputError(
                f"the parameters of an ellipse have shapes {sorted(shapes)}; allowed is one value a frame for each: "
                "give tensors of one length"
            )


def circle(sigma_F: Tensor) -> Ellipse:
    """The isotropic ellipse."""
    return Ellipse(sigma_F, sigma_F, torch.zeros_like(sigma_F))


def gaussian(size: int, ellipse: Ellipse) -> Tensor:
    """exp(-d^2 / 2), with d the distance from the centre in units of the ellipse."""
    return _normalised(torch.exp(-0.5 * _squared_distance(size, ellipse)))


def generalised_gaussian(size: int, ellipse: Ellipse, beta_F: Tensor) -> Tensor:
    """exp(-(d^2)^beta / 2): beta 1 is the Gaussian, less has a sharper peak, more a flatter one."""
    return _normalised(torch.exp(-0.5 * _squared_distance(size, ellipse) ** _per_frame("beta", beta_F)))


def plateau(size: int, ellipse: Ellipse, beta_F: Tensor) -> Tensor:
    """1 / (1 + (d^2)^beta): flat in the middle, with long tails; more beta makes the edge steeper."""
    return _normalised(1 / (1 + _squared_distance(size, ellipse) ** _per_frame("beta", beta_F)))


def sinc(size: int, omega_F: Tensor) -> Tensor:
    """The ideal circular low-pass filter, omega J1(omega r) / (2 pi r), cut off at the kernel's border: it rings.

    Args:
        size: of the kernel, odd.
        omega_F: cutoff in radians a pixel, in (0, pi].
    """
    omega = _per_frame("omega", omega_F)
    if (omega > math.pi).any():
        raise InputError(
            f"omega is {float(omega.max()):g}; allowed are numbers above 0 up to pi, the highest frequency that pixels "
            "hold: give less"
        )
    x, y = _grid(size)
    radius = torch.sqrt(x * x + y * y)
    centre = omega**2 / (4 * math.pi)  # the limit for r = 0, since J1(z) = z / 2 near 0
    away = omega * torch.special.bessel_j1(omega * radius) / (2 * math.pi * radius.clamp(min=1))
    return _normalised(torch.where(radius == 0, centre, away))


def check_size(size: int) -> None:
    """Refuse a kernel that has no centre.

    Raises:
        InputError: the size is even or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise InputError(f"the kernel size is {size}; allowed are odd numbers from 1: give {max(size, 0) + 1}")


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """The pixels' x and y from the centre, (1, size, size)."""
    check_size(size)
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    return x[None], y[None]


def _squared_distance(size: int, ellipse: Ellipse) -> Tensor:
    """x^T S^-1 x with S the turned covariance, (F, size, size)."""
    x, y = _grid(size)
    angle = ellipse.angle_F.double().view(-1, 1, 1)
    along = (x * torch.cos(angle) + y * torch.sin(angle)) / _per_frame("sigma_x", ellipse.sigma_x_F)
    across = (y * torch.cos(angle) - x * torch.sin(angle)) / _per_frame("sigma_y", ellipse.sigma_y_F)
    return along**2 + across**2


def _per_frame(name: str, values_F: Tensor) -> Tensor:
    _check_parameters(**{name: values_F})
    return values_F.double().view(-1, 1, 1)


def _check_parameters(**parameters: Tensor) -> None:
    for name, values in parameters.items():
        if values.ndim != 1 or not len(values) or not (values > 0).all():
            raise InputError(
                f"{name} is {values.tolist()}; allowed is a tensor (F,) of numbers above 0: give one a frame"
            )


def _normalised(kernels_FHW: Tensor) -> Tensor:
    return (kernels_FHW / kernels_FHW.sum(dim=(1, 2), keepdim=True)).float()
