"""Pixel values: a texture vanishes on average and stays within 0 to 255."""

import numpy as np
import pytest

from fv_ray.errors import InputError
from fv_ray.training.procedural.palette import COLOUR_RGB, TEXTURE_AMPLITUDE, background_rows, texture_period
from fv_ray.training.procedural.scene import BACKGROUNDS, COLOURS, TEXTURES


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_is_nothing_on_average_over_any_period(texture: str) -> None:
    for period in (1, 2, 4, 8):
        assert texture_period(texture, period).sum() == 0
    assert texture_period(texture, 1) == 0


def test_textures_differ_and_fit_every_colour() -> None:
    tiles = {texture_period(texture, 4).tobytes() for texture in TEXTURES}
    assert len(tiles) == len(TEXTURES)
    values = np.array([COLOUR_RGB[colour] for colour in COLOURS])
    assert values.min() >= TEXTURE_AMPLITUDE
    assert values.max() <= 255 - TEXTURE_AMPLITUDE


def test_backgrounds_differ_from_one_another() -> None:
    rows = [background_rows(background, 32) for background in BACKGROUNDS]
    for place, one in enumerate(rows):
        assert all(np.abs(one - other).mean() > 30 for other in rows[:place])


def test_a_period_that_pixels_cannot_show_is_refused() -> None:
    with pytest.raises(InputError, match="period is 6 pixels; allowed are 1, 2 and multiples of 4: give"):
        texture_period("dots", 6)
