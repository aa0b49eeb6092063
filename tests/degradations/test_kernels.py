"""Blur kernels: normalised, symmetric where they must be, and of the family that their name says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fv_ray.degradations.kernels import Ellipse, check_size, circle, gaussian, generalised_gaussian, plateau, sinc
from fv_ray.errors import InputError

sizes = st.integers(0, 10).map(lambda half: 2 * half + 1)
sigmas = st.floats(0.2, 3)


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def response(kernel_HW: Tensor, frequency: float) -> float:
    """What a kernel leaves of cos(frequency x)."""
    offsets = torch.arange(len(kernel_HW)) - len(kernel_HW) // 2
    return float((kernel_HW * torch.cos(frequency * offsets)).sum())


@settings(max_examples=40, deadline=None)
@given(sizes, sigmas, sigmas, st.floats(-math.pi, math.pi), st.floats(0.5, 4), st.floats(math.pi / 5, math.pi))
def test_every_kernel_sums_to_one_and_survives_half_a_turn(
    size: int, sigma_x: float, sigma_y: float, angle: float, beta: float, omega: float
) -> None:
    ellipse = Ellipse(values(sigma_x), values(sigma_y), values(angle))
    for kernel in (
        gaussian(size, ellipse),
        generalised_gaussian(size, ellipse, values(beta)),
        plateau(size, ellipse, values(beta)),
        sinc(size, values(omega)),
    ):
        assert kernel.shape == (1, size, size)
        assert kernel.dtype == torch.float32
        assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(kernel, kernel.flip(1, 2))


@pytest.mark.parametrize("size", [1, 7, 21])
def test_isotropic_kernels_have_every_symmetry_of_the_square(size: int) -> None:
    round_one = circle(values(1.3))
    for kernel in (
        gaussian(size, round_one),
        generalised_gaussian(size, round_one, values(0.7)),
        plateau(size, round_one, values(1.5)),
        sinc(size, values(1.2)),
    ):
        torch.testing.assert_close(kernel, kernel.transpose(1, 2))
        torch.testing.assert_close(kernel, kernel.flip(2))


@settings(max_examples=20, deadline=None)
@given(sizes, sigmas, st.floats(-math.pi, math.pi))
def test_equal_sigmas_are_isotropic_whatever_the_angle(size: int, sigma: float, angle: float) -> None:
    turned = Ellipse(values(sigma), values(sigma), values(angle))
    torch.testing.assert_close(gaussian(size, turned), gaussian(size, circle(values(sigma))))


@settings(max_examples=20, deadline=None)
@given(sizes, sigmas, sigmas, st.floats(-math.pi, math.pi))
def test_beta_one_is_the_gaussian(size: int, sigma_x: float, sigma_y: float, angle: float) -> None:
    ellipse = Ellipse(values(sigma_x), values(sigma_y), values(angle))
    torch.testing.assert_close(generalised_gaussian(size, ellipse, values(1)), gaussian(size, ellipse))


def test_a_gaussian_has_the_spread_that_was_asked_for() -> None:
    kernel = gaussian(41, Ellipse(values(3), values(1.5), values(0)))[0].double()
    offsets = torch.arange(41) - 20
    assert (kernel.sum(0) * offsets**2).sum().item() == pytest.approx(9, rel=1e-3)  # x runs along the columns
    assert (kernel.sum(1) * offsets**2).sum().item() == pytest.approx(2.25, rel=1e-3)


def test_an_angle_turns_from_right_to_down() -> None:
    kernel = gaussian(15, Ellipse(values(3), values(0.5), values(math.pi / 4)))[0]
    assert kernel[10, 10] > 10 * kernel[4, 10]
    quarter = gaussian(15, Ellipse(values(3), values(0.5), values(math.pi / 2)))
    torch.testing.assert_close(quarter, gaussian(15, Ellipse(values(0.5), values(3), values(0))))


def test_a_plateau_is_flatter_and_a_high_beta_too() -> None:
    round_one = circle(values(3))
    flat, bell = plateau(13, round_one, values(2))[0, 6], gaussian(13, round_one)[0, 6]
    assert flat[7] / flat[6] > bell[7] / bell[6]
    boxlike = generalised_gaussian(13, round_one, values(4))[0, 6]
    assert boxlike[8] / boxlike[6] > 0.98
    assert boxlike[11] / boxlike[6] < 0.01


@pytest.mark.parametrize("omega", [math.pi / 5, math.pi / 3, 2])
def test_a_sinc_passes_low_and_stops_high_frequencies(omega: float) -> None:
    kernel = sinc(21, values(omega))[0]
    assert response(kernel, 0) == pytest.approx(1, abs=1e-5)
    assert response(kernel, 0.5 * omega) > 0.9
    assert response(kernel, min(1.6 * omega, math.pi)) == pytest.approx(0, abs=0.1)
    assert kernel.min() < 0  # it rings


def test_one_kernel_a_frame() -> None:
    sigmas_F = values(0.5, 1, 2)
    kernels = gaussian(9, circle(sigmas_F))
    assert kernels.shape == (3, 9, 9)
    for index in range(3):
        torch.testing.assert_close(kernels[index : index + 1], gaussian(9, circle(sigmas_F[index : index + 1])))
    assert sinc(7, values(1, 2)).shape == (2, 7, 7)


@pytest.mark.parametrize("size", [-3, 0, 4, 20])
def test_a_kernel_without_a_centre_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=rf"the kernel size is {size}; allowed are odd numbers from 1: give \d+"):
        gaussian(size, circle(values(1)))
    with pytest.raises(InputError):
        check_size(size)


def test_parameters_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"sigma_x is \[0\.0\]; allowed is a tensor \(F,\) of numbers above 0: "):
        circle(values(0))
    with pytest.raises(InputError, match=r"shapes \[\(1,\), \(2,\)\]; allowed is one value a frame for each: "):
        Ellipse(values(1, 2), values(1, 2), values(0))
    with pytest.raises(InputError, match="beta is"):
        plateau(7, circle(values(1)), torch.ones(1, 1))
    with pytest.raises(InputError, match=r"omega is 4; allowed are numbers above 0 up to pi, .*: give less"):
        sinc(7, values(4))
