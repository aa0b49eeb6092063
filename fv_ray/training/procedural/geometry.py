"""Where a scene's object is, how large, and its outline: numbers in units of the picture's height.

x to the right and y downwards from the picture's middle.
"""

from functools import cache

import numpy as np

from fv_ray.errors import InputError
from fv_ray.training.procedural.scene import Motion, Scene, Shape, Size

RADIUS: dict[Size, float] = {"small": 0.15, "large": 0.25}
OFFSET_X, OFFSET_Y = 1 / 8, 1 / 16
"""Whole pixels of a preview 32 pixels high, as are a straight path's steps in 9 frames."""
TRAVEL_X, TRAVEL_Y = 1 / 2, 1 / 4
"""Length of a straight path. Vertical ones are shorter: the largest object must stay inside the picture."""
ORBIT_RADIUS = 1 / 8
GROWTH = 0.8
"""Of the radius, relative to the scene's, which it has in the middle of the clip."""
NUM_CURVE_POINTS = 96

_CHANGES: dict[Motion, tuple[float, float, float]] = {
    "left": (-TRAVEL_X, 0, 0),
    "right": (TRAVEL_X, 0, 0),
    "up": (0, -TRAVEL_Y, 0),
    "down": (0, TRAVEL_Y, 0),
    "still": (0, 0, 0),
    "grow": (0, 0, GROWTH),
    "shrink": (0, 0, -GROWTH),
}
"""Of x, y and the radius from the first frame to the last."""


def track(scene: Scene, num_frames: int) -> np.ndarray:
    """Centre x, centre y and radius of the object in each frame, (F, 3).

    Raises:
        InputError: there are no frames.
    """
    if num_frames < 1:
        raise InputError(f"a clip of {num_frames} frames was asked for; allowed are 1 and more: 9 show every motion")
    path = motion_path(scene.motion, scene.phase, num_frames)
    path[:, 0] += OFFSET_X * scene.offset_x
    path[:, 1] += OFFSET_Y * scene.offset_y
    path[:, 2] *= RADIUS[scene.size]
    return path


def motion_path(motion: Motion, phase: int, num_frames: int) -> np.ndarray:
    """x and y around the path's middle and the relative radius in each frame, (F, 3)."""
    time = np.linspace(0, 1, num_frames)
    path = np.stack([np.zeros(num_frames), np.zeros(num_frames), np.ones(num_frames)], axis=1)
    if motion == "orbit":
        angle = 2 * np.pi * (time + phase / 4)  # clockwise, y being downwards
        path[:, 0], path[:, 1] = ORBIT_RADIUS * np.cos(angle), ORBIT_RADIUS * np.sin(angle)
    else:
        path += np.array(_CHANGES[motion]) * (time - 0.5)[:, None]
    return path


@cache
def outline(shape: Shape) -> tuple[np.ndarray, ...]:
    """Closed polygons around an object of radius 1, (N, 2) each; a hole runs the other way round. Read only.

    The shapes are scaled to about equal areas, so that size is not told by shape.
    """
    polygons: tuple[np.ndarray, ...]
    match shape:
        case "circle":
            polygons = (_around(NUM_CURVE_POINTS, 1.0),)
        case "square":
            polygons = (_around(4, 1.25, turn=1 / 8),)
        case "triangle":
            polygons = (_around(3, 1.2),)
        case "ring":
            polygons = (_around(NUM_CURVE_POINTS, 1.1), _around(NUM_CURVE_POINTS, 0.58)[::-1])
        case "star":
            points = _around(10, 1.25)
            points[1::2] *= 0.45
            polygons = (points,)
        case "cross":
            near, far = 0.36, 1.1
            corner = np.array([[near, -far], [near, -near], [far, -near]])
            quarter_turn = np.array([[0, 1], [-1, 0]])
            polygons = (np.concatenate([corner @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)]),)
    for polygon in polygons:
        polygon.flags.writeable = False
    return polygons


def area(shape: Shape) -> float:
    """Area inside the outline of an object of radius 1."""
    return float(sum(_signed_area(polygon) for polygon in outline(shape)))


def _around(num_points: int, radius: float, turn: float = 0.0) -> np.ndarray:
    """Points on a circle, the first at the top unless it is turned."""
    angle = 2 * np.pi * (np.arange(num_points) / num_points + turn - 0.25)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _signed_area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)
