"""How far a segmented clip is from each value that an attribute can have.

Every function returns a distance by value, in whatever unit suits it: only their order and ratios count.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from fv_ray.training.procedural.geometry import RADIUS, area, motion_path
from fv_ray.training.procedural.palette import COLOUR_RGB, background_rows, texture_tile
from fv_ray.training.procedural.render import ShapePainter
from fv_ray.training.procedural.scene import BACKGROUNDS, MOTIONS, PHASES, SHAPES, SIZES, TEXTURES, Shape
from fv_ray.training.procedural.segmentation import CELL, Segmentation

GRID_SIDE = 24
GRID_REACH = 2.4
"""Half the side of the grid on which shapes are compared, in radii of gyration."""
RADIUS_WEIGHT = 0.25
"""Of the logarithm of the radius against positions in heights, when motions are compared."""
LUMA = np.array([0.299, 0.587, 0.114])
CARRIERS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Cycles a texture's period to the right and downwards; a pattern is told by its strength in each."""
FAINTEST = 0.3
"""Strength of a texture, relative to a crisp one, from which it counts in full; below half of that it is plain."""


@dataclass(frozen=True, eq=False)
class Looks:
    """The object's shape and track, measured from its mask."""

    shape_distances: dict[str, float]
    likeness: float
    """Correlation with the nearest shape, -1..1."""
    path: np.ndarray
    """Centre x, centre y and the radius in each frame in which there is an object, in heights, (F, 3)."""
    times: np.ndarray
    """Those frames' places in the clip, 0 to F - 1."""
    num_frames: int


def looks(found: Segmentation) -> Looks:
    """Measure the object. Every shape is drawn at its size and compared with the mean of its masks."""
    num_frames, height, width = found.mask.shape
    areas = found.mask.sum(axis=(1, 2))
    times = np.flatnonzero(areas > 0)
    grids, moments = zip(*(_normalised(found.mask[frame]) for frame in times), strict=True)
    picture = np.average(np.stack(grids), axis=0, weights=areas[times])
    typical = float(np.median(areas[times]))
    ideals = {shape: _ideal(shape, typical) for shape in SHAPES}
    distances: dict[str, float] = {
        shape: float(np.sqrt(np.square(ideal - picture).mean())) for shape, ideal in ideals.items()
    }
    nearest = min(SHAPES, key=lambda shape: distances[shape])
    centres = np.array(moments)[:, :2] - np.array([width, height]) / 2
    radii = np.sqrt(areas[times] / area(nearest))
    path = np.concatenate([centres, radii[:, None]], axis=1) / height
    likeness = float(np.corrcoef(ideals[nearest].ravel(), picture.ravel())[0, 1])
    return Looks(distances, likeness, path, times, num_frames)


def motion_distances(seen: Looks) -> dict[str, float]:
    """Root mean square distance of the track from each motion's, their middles laid on one another."""
    measured = _track(seen.path)
    distances: dict[str, float] = {}
    for motion in MOTIONS:
        phases = PHASES if motion == "orbit" else PHASES[:1]
        expected = [_track(motion_path(motion, phase, seen.num_frames)[seen.times]) for phase in phases]
        distances[motion] = min(float(np.sqrt(np.square(measured - each).sum(1).mean())) for each in expected)
    return distances


def size_distances(seen: Looks) -> dict[str, float]:
    """Logarithm of the ratio of the middle radius to each size's."""
    radius = float(np.median(seen.path[:, 2]))
    return {size: abs(float(np.log(radius / RADIUS[size]))) for size in SIZES}


def hue_distances(colour: np.ndarray) -> dict[str, float]:
    """Angle between hues, in radians."""
    hue = _hue(colour)
    return {name: abs(float(np.angle(np.exp(1j * (hue - _hue(np.array(rgb))))))) for name, rgb in COLOUR_RGB.items()}


def background_distances(rows: np.ndarray) -> dict[str, float]:
    """Root mean square difference of the rows' colours."""
    ideals = {name: background_rows(name, len(rows)) for name in BACKGROUNDS}
    return {name: float(np.sqrt(np.square(rows - ideal).mean())) for name, ideal in ideals.items()}


def texture_distances(frames_FHWC: np.ndarray, found: Segmentation) -> dict[str, float]:
    """Difference of the strengths in which the object's inside swings with a period of 4 pixels, whatever the phase.

    The half-period shifts after every 8 pixels are undone first, from whichever of the four places they begin at.

    A softened pattern, if no weaker than `FAINTEST`, is no further from its texture than a crisp one; plain is no swing
    at all.
    """
    height, width = found.mask.shape[1] * found.cell, found.mask.shape[2] * found.cell
    inside = _inside(found)
    luma = frames_FHWC[:, :height, :width] @ LUMA
    all_swings = [_swings(height, width, *start) for start in product((0, CELL), repeat=2)]
    strengths = np.zeros((len(all_swings), len(CARRIERS)))
    for luma_HW, inside_HW in zip(luma, inside, strict=True):
        values = luma_HW[inside_HW]
        if values.size:
            values = values - values.mean()
            strengths += [[abs(np.mean(values * swing[inside_HW])) for swing in swings] for swings in all_swings]
    strengths = max(strengths, key=np.linalg.norm) / max(int(inside.any(axis=(1, 2)).sum()), 1)
    distances: dict[str, float] = {}
    for texture in TEXTURES:
        ideal = _strengths(texture_tile(texture, CELL)[:CELL, :CELL])
        gain = np.clip(strengths @ ideal / max(float(ideal @ ideal), 1e-9), FAINTEST, 1.0)
        distances[texture] = float(np.linalg.norm(strengths - gain * ideal))
    return distances


def _normalised(mask_HW: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """The mask on a grid laid around its centre, as large as its own radius of gyration says; and the centre, x, y."""
    y, x = np.indices(mask_HW.shape) + 0.5
    mass = mask_HW.sum()
    centre_x, centre_y = float((mask_HW * x).sum() / mass), float((mask_HW * y).sum() / mass)
    gyration = np.sqrt((mask_HW * (np.square(x - centre_x) + np.square(y - centre_y))).sum() / mass)
    steps = np.linspace(-GRID_REACH, GRID_REACH, GRID_SIDE) * gyration
    places = np.meshgrid(centre_y - 0.5 + steps, centre_x - 0.5 + steps, indexing="ij")
    return ndimage.map_coordinates(mask_HW, places, order=1), (centre_x, centre_y)


def _ideal(shape: Shape, area_in_cells: float) -> np.ndarray:
    """The normalised mask of a perfect object of this area."""
    radius = float(np.sqrt(area_in_cells / area(shape)))
    return _normalised(ShapePainter(shape, radius).coverage(0, 0, radius))[0]


def _track(path: np.ndarray) -> np.ndarray:
    """Positions and weighted logarithm of the radius, around their means."""
    points = np.concatenate([path[:, :2], RADIUS_WEIGHT * np.log(path[:, 2:])], axis=1)
    return points - points.mean(0)


def _hue(rgb: np.ndarray) -> float:
    """Angle around the axis of greys."""
    red, green, blue = rgb.tolist()
    return float(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))


def _inside(found: Segmentation) -> np.ndarray:
    """Pixels well inside the object, bool, (F, H, W)."""
    if found.cell == 1:
        return found.mask > 0.9
    smooth = ndimage.zoom(found.mask, (1, found.cell, found.cell), order=1, grid_mode=True, mode="nearest")
    return smooth > 0.8


def _swings(height: int, width: int, first_y: int, first_x: int) -> list[np.ndarray]:
    """The carriers over a picture, their sign turned where a texture is shifted by half its period."""
    y, x = np.mgrid[:height, :width]
    turned_y, turned_x = (1 - 2 * ((place + first) // (2 * CELL) % 2) for place, first in ((y, first_y), (x, first_x)))
    return [
        turned_x ** abs(right) * turned_y ** abs(down) * np.exp(-2j * np.pi * (right * x + down * y) / CELL)
        for right, down in CARRIERS
    ]


def _strengths(tile: np.ndarray) -> np.ndarray:
    """Strength of each carrier in one period of a texture."""
    spectrum = np.abs(np.fft.fft2(tile)) / tile.size
    return np.array([spectrum[down % CELL, right % CELL] for right, down in CARRIERS])
