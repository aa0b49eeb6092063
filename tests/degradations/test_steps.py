"""Steps: ranges that mean nothing are refused when a step is made, not in the middle of training."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from fv_ray.degradations.draws import Choice, Walk, evenly
from fv_ray.degradations.recipes import FIRST_BLUR, INTERPOLATIONS
from fv_ray.degradations.steps import Jpeg, Noise, Recipe, Resize, Shrink, VideoCompression
from fv_ray.errors import InputError

NOISE = Noise(Walk(1, 30), Walk(0, 3), poisson_probability=0.5, grey_probability=0.4)

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "even kernel": (lambda: replace(FIRST_BLUR, sizes=evenly(7, 8)), "the kernel size is 8; allowed are odd"),
    "no spread": (lambda: replace(FIRST_BLUR, sigma=Walk(0, 3)), "the range of sigma is 0 to 3; allowed"),
    "beta": (lambda: replace(FIRST_BLUR, beta_plateau=Walk(-1, 2)), "the range of beta_plateau is -1 to 2; allowed"),
    "omega": (lambda: replace(FIRST_BLUR, omega=Walk(1, 4)), "the range of omega is 1 to 4; allowed"),
    "chance of a blur": (lambda: replace(FIRST_BLUR, probability=-0.1), r"the probability is -0\.1; allowed"),
    "enlarging": (lambda: Shrink(Walk(0.5, 4), INTERPOLATIONS), r"the range of factor is 0\.5 to 4; allowed"),
    "no size": (lambda: Resize(evenly(Walk(0, 1)), INTERPOLATIONS), "the range of scale is 0 to 1; allowed"),
    "noise": (lambda: replace(NOISE, gaussian_sigma=Walk(-1, 1)), "the range of gaussian_sigma is -1 to 1; allowed"),
    "grey": (lambda: replace(NOISE, grey_probability=math.nan), "the probability is nan; allowed"),
    "jpeg": (lambda: Jpeg(Walk(30, 100)), "the range of quality is 30 to 100; allowed are numbers from 1 to 95: "),
    "bits": (
        lambda: VideoCompression(Choice(("mpeg4",), (1.0,)), Walk(-1, 1)),
        "the range of bits_per_pixel is -1 to 1; allowed are numbers from 0 to inf: narrow the range",
    ),
    "branches": (lambda: Recipe((), (), 7), "the probability is 7; allowed"),
}


@pytest.mark.parametrize("what", BAD)
def test_it_is_refused(what: str) -> None:
    make, message = BAD[what]
    with pytest.raises(InputError, match=message):
        make()
