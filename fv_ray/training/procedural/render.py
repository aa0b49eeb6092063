"""A scene to the pixels of its clip.

Outlines are filled by matplotlib's Agg, whose edge pixels hold the exact share that is covered: a clip drawn at a low
resolution is the area average of the one drawn at a high resolution. Textures lie still in the picture and show through
the object: their phase is known from the place alone, so a second stage need not guess it.
"""

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from fv_ray.errors import InputError
from fv_ray.training.procedural.geometry import outline, track
from fv_ray.training.procedural.palette import COLOUR_RGB, PERIODS_PER_TILE, background_rows, texture_tile
from fv_ray.training.procedural.scene import Scene, Shape

PREVIEW_HEIGHT = 32
MIN_SIDE = 16


class ShapePainter:
    """Fills a shape's outline into small pictures of coverage, one after the other on one canvas.

    Args:
        shape: which.
        largest_radius: the largest radius that will be asked for, in pixels.
    """

    def __init__(self, shape: Shape, largest_radius: float) -> None:
        polygons = outline(shape)
        self._reach = max(float(np.abs(polygon).max()) for polygon in polygons)
        self.side = 2 * int(np.ceil(self._reach * largest_radius + 1))
        """Pixels of a side of the picture; the object's centre is in its middle, to the pixel."""
        self._canvas = RendererAgg(self.side, self.side, 72)
        self._brush = self._canvas.new_gc()
        self._brush.set_linewidth(0)
        self._brush.set_snap(False)
        closed = [np.concatenate([polygon, polygon[:1]]) for polygon in polygons]
        codes = [[Path.MOVETO] + [Path.LINETO] * (len(each) - 2) + [Path.CLOSEPOLY] for each in closed]
        self._path = Path(np.concatenate(closed), np.concatenate(codes))

    def coverage(self, x: float, y: float, radius: float) -> np.ndarray:
        """Share of each pixel that is covered, float32 0..1, (side, side).

        Args:
            x: the centre, in pixels right of the middle, -0.5 to 0.5.
            y: the same, downwards.
            radius: in pixels.
        """
        self._canvas.clear()
        middle = self.side / 2
        # Agg's own y runs upwards.
        place = Affine2D.from_values(radius, 0, 0, -radius, middle + x, middle - y)
        self._canvas.draw_path(self._brush, self._path, place, (1.0, 1.0, 1.0, 1.0))
        return np.asarray(self._canvas.buffer_rgba())[..., 3] * np.float32(1 / 255)


def render_clip(
    scene: Scene, num_frames: int, height: int, width: int, *, preview_height: int = PREVIEW_HEIGHT
) -> np.ndarray:
    """Draw a clip, uint8 RGB, (F, H, W, 3); the same scene gives the same bits.

    Args:
        scene: what it shows.
        num_frames: frames, 1 or more; the whole motion takes place in them.
        height: pixels: `preview_height` times 1, 2 or a multiple of 4.
        width: pixels, no less than the height, or objects would leave the picture.
        preview_height: height of the low-resolution clip that belongs to this one. One period of a texture is one pixel
            of that: at its height every texture is plain, at four times its height the period is 4 pixels.

    Raises:
        InputError: a size is not allowed.
    """
    _check_size(height, width, preview_height)
    path = track(scene, num_frames) * height
    path[:, :2] += width / 2, height / 2
    rows = background_rows(scene.background, height)
    clip = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    clip[:] = _rounded(rows)[:, None].repeat(width, axis=1)
    painter = ShapePainter(scene.shape, float(path[:, 2].max()))
    period = height // preview_height
    tile_side = PERIODS_PER_TILE * period
    surface = _surface(scene, painter.side + tile_side, period)
    for frame, (x, y, radius) in zip(clip, path.tolist(), strict=True):
        left, top = round(x) - painter.side // 2, round(y) - painter.side // 2
        coverage = painter.coverage(x - round(x), y - round(y), radius)
        # The texture's phase is the picture's: that of its own corner here.
        texture_HWC = surface[top % tile_side :, left % tile_side :][: painter.side, : painter.side]
        _blend(frame, rows, texture_HWC, coverage, left, top)
    return clip


def _blend(frame: np.ndarray, rows: np.ndarray, surface: np.ndarray, coverage: np.ndarray, left: int, top: int) -> None:
    """Put a surface into a frame, its corner at left and top, by the share of each pixel that it covers."""
    height, width = frame.shape[:2]
    y = slice(max(top, 0), min(top + len(coverage), height))
    x = slice(max(left, 0), min(left + len(coverage), width))
    inside = slice(y.start - top, y.stop - top), slice(x.start - left, x.stop - left)
    behind = rows[y, None]
    pixels = surface[inside] - behind
    pixels *= coverage[inside][..., None]
    pixels += behind
    frame[y, x] = _rounded(pixels)


def _surface(scene: Scene, side: int, period: int) -> np.ndarray:
    """A square of the object's colour and texture, float32, (side, side, 3)."""
    tile = texture_tile(scene.texture, period)
    num_tiles = -(-side // len(tile))
    texture = np.tile(tile, (num_tiles, num_tiles))[:side, :side, None]
    return texture + np.array(COLOUR_RGB[scene.colour], dtype=np.float32)


def _rounded(values: np.ndarray) -> np.ndarray:
    """To uint8; halves up, which the cast of a positive number does faster than a rounding function."""
    rounded: np.ndarray = (values + np.float32(0.5)).astype(np.uint8)
    return rounded


def _check_size(height: int, width: int, preview_height: int) -> None:
    if preview_height < MIN_SIDE or height % preview_height:
        raise InputError(
            f"the clip is {height} pixels high and its preview {preview_height}; allowed are previews from {MIN_SIDE} "
            "and clips of 1, 2, 4, 8, 12 ... times that: give such a pair, as 128 and 32"
        )
    if width < height:
        raise InputError(
            f"the clip is {height} x {width} pixels; allowed are widths from the height, or objects would leave the "
            "picture: 3/2 of it is usual"
        )
