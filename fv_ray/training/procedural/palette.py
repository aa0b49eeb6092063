"""The pixel values of the world: object colours, backgrounds and textures.

A texture adds the same to red, green and blue, so that it survives the halved chroma of yuv420p, and nothing on
average: one period is one pixel of the preview, where every texture is the plain colour. After every second period it
is shifted by half of one: a pattern that came back after 8 pixels would be the same in each of the autoencoder's
latents, and a decoder that treats all places alike can make nothing but an even colour of equal latents.
"""

from functools import cache

import numpy as np

from fv_ray.errors import InputError
from fv_ray.training.procedural.scene import Background, Colour, Texture

TEXTURE_AMPLITUDE = 40.0
"""Of 255; the colours leave this much room below and above."""

COLOUR_RGB: dict[Colour, tuple[int, int, int]] = {
    "red": (212, 42, 42),
    "orange": (215, 118, 40),
    "yellow": (214, 200, 42),
    "green": (48, 176, 60),
    "cyan": (44, 198, 205),
    "blue": (44, 82, 214),
    "purple": (136, 46, 208),
    "pink": (214, 60, 158),
}
_TOP_AND_BOTTOM_RGB: dict[Background, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "dark": ((24, 25, 29), (24, 25, 29)),
    "grey": ((124, 126, 129), (124, 126, 129)),
    "light": ((232, 233, 236), (232, 233, 236)),
    "sand": ((208, 190, 160), (208, 190, 160)),
    "gradient": ((215, 218, 226), (34, 38, 52)),
}

# One period in 4 x 4 cells: above the mean, on it, below it.
_PERIODS: dict[Texture, tuple[str, ...]] = {
    "plain": ("0000", "0000", "0000", "0000"),
    "stripes": ("++++", "++++", "----", "----"),
    "dots": ("-00-", "0++0", "0++0", "-00-"),
    "checks": ("++--", "++--", "--++", "--++"),
}
_CELL = {"+": TEXTURE_AMPLITUDE, "0": 0.0, "-": -TEXTURE_AMPLITUDE}
NUM_CELLS = 4
_SHIFTS = (0, 0, 2, 2)
"""Cells by which four neighbouring periods are shifted, to the right and downwards."""
PERIODS_PER_TILE = len(_SHIFTS)


def background_rows(background: Background, height: int) -> np.ndarray:
    """Colour of each row of a background, float32 0..255, (H, 3)."""
    top, bottom = (np.array(colour, dtype=np.float32) for colour in _TOP_AND_BOTTOM_RGB[background])
    depth = (np.arange(height, dtype=np.float32) + 0.5) / height
    return top + (bottom - top) * depth[:, None]


@cache
def texture_tile(texture: Texture, period: int) -> np.ndarray:
    """What a texture adds to red, green and blue until it comes back, float32, (4 period, 4 period). Read only.

    Args:
        texture: which.
        period: its length in pixels: 1, 2 or a multiple of 4.

    Raises:
        InputError: the period is not allowed.
    """
    one = np.array([[_CELL[cell] for cell in row] for row in _PERIODS[texture]], dtype=np.float32)
    cells = np.block([[np.roll(one, (down, right), (0, 1)) for right in _SHIFTS] for down in _SHIFTS])
    if period >= NUM_CELLS and period % NUM_CELLS == 0:
        tile = cells.repeat(period // NUM_CELLS, axis=0).repeat(period // NUM_CELLS, axis=1)
    elif period in (1, 2):
        merged = NUM_CELLS // period
        side = PERIODS_PER_TILE * period
        tile = cells.reshape(side, merged, side, merged).mean(axis=(1, 3))
    else:
        raise InputError(
            f"the texture's period is {period} pixels; allowed are 1, 2 and multiples of {NUM_CELLS}: "
            "give a height that is such a multiple of the preview's"
        )
    tile.flags.writeable = False
    return tile
