"""Outlines and tracks: nothing leaves the picture, no shape is told by its area."""

import numpy as np
import pytest

from fv_ray.errors import InputError
from fv_ray.training.procedural.geometry import area, outline, track
from fv_ray.training.procedural.scene import SHAPES, Scene, draw_scene


def test_every_object_stays_inside_the_picture() -> None:
    for seed in range(500):
        scene = draw_scene(seed)
        reach = max(float(np.abs(polygon).max()) for polygon in outline(scene.shape))
        x, y, radius = track(scene, 9).T
        assert (np.abs(y) + reach * radius).max() <= 0.5 + 1e-9
        assert (np.abs(x) + reach * radius).max() <= 0.75


def test_areas_are_about_those_of_the_circle() -> None:
    assert area("circle") == pytest.approx(np.pi, rel=1e-3)
    assert all(0.55 < area(shape) / np.pi < 1.05 for shape in SHAPES)


def test_straight_paths_step_by_whole_pixels_of_the_preview() -> None:
    steps = np.diff(track(Scene("star", "red", "left", "dark", "small", "dots", 1, 1), 9)[:, 0]) * 32
    assert steps == pytest.approx(-2)


def test_a_motion_does_what_its_name_says() -> None:
    def change(motion: str) -> np.ndarray:
        path = track(Scene("star", "red", motion, "dark", "large", "dots"), 9)
        return np.sign(path[-1] - path[0]).round(6)

    for motion, expected in {"left": (-1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0), "grow": (0, 0, 1)}.items():
        assert tuple(change(motion)) == expected
    orbit = track(Scene("star", "red", "orbit", "dark", "large", "dots"), 9)
    assert orbit[0] == pytest.approx(orbit[-1])
    assert orbit[2, 1] > orbit[0, 1]  # from the right downwards: clockwise


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(InputError, match="0 frames .* allowed are 1 and more: 9"):
        track(draw_scene(0), 0)
