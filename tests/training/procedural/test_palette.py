"""Pixel values: a texture vanishes on average and stays within 0 to 255."""

import numpy as np
import pytest

from fv_ray.errors import InputError
from fv_ray.training.procedural.palette import COLOUR_RGB, TEXTURE_AMPLITUDE, background_rows, texture_tile
from fv_ray.training.procedural.scene import BACKGROUNDS, COLOURS, TEXTURES


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_is_nothing_on_average_over_any_period(texture: str) -> None:
    for period in (1, 2, 4, 8):
        tile = texture_tile(texture, period)
        assert tile.shape == (4 * period, 4 * period)
        assert not tile.reshape(4, period, 4, period).sum(axis=(1, 3)).any()
    assert not texture_tile(texture, 1).any()


@pytest.mark.parametrize("texture", ["stripes", "dots", "checks"])
def test_a_texture_does_not_come_back_after_one_latent(texture: str) -> None:
    """Else every latent inside an object were the same, and the decoder could not tell one pixel from another."""
    tile = texture_tile(texture, 4)
    for axis in (0, 1) if texture != "stripes" else (0,):
        assert np.abs(tile - np.roll(tile, 8, axis)).max() > 0
        assert (tile == np.roll(tile, 16, axis)).all()


def test_textures_differ_and_fit_every_colour() -> None:
    tiles = {texture_tile(texture, 4).tobytes() for texture in TEXTURES}
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
        texture_tile("dots", 6)
