"""Latents: their shape, and numbers that are none."""

import pytest
import torch

from fv_ray.errors import NumericalError
from fv_ray.latents import latents_shape, require_finite


def test_shape_of_the_released_sizes() -> None:
    assert latents_shape(49, 16, 256, 480) == (13, 16, 32, 60)
    assert latents_shape(49, 16, 1072, 1920) == (13, 16, 134, 240)
    assert latents_shape(1, 16, 16, 16) == (1, 16, 2, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_no_numbers(value: float) -> None:
    with pytest.raises(NumericalError, match="stage two gave numbers that are not finite"):
        require_finite(torch.tensor([0.0, value]), "stage two")


def test_finite_latents_pass() -> None:
    latents = torch.randn(3)
    assert require_finite(latents, "stage one") is latents
