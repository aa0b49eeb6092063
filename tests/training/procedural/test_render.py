"""Clips: the same bits from the same scene, and the same clip at every resolution."""

import hashlib

import numpy as np
import pytest

from fv_ray.errors import InputError
from fv_ray.training.procedural.geometry import area
from fv_ray.training.procedural.render import ShapePainter, render_clip
from fv_ray.training.procedural.scene import SHAPES, TEXTURES, Scene, draw_scene


def means(clip: np.ndarray, cell: int) -> np.ndarray:
    num_frames, height, width, _ = clip.shape
    return clip.astype(float).reshape(num_frames, height // cell, cell, width // cell, cell, 3).mean((2, 4))


def test_a_scene_is_drawn_to_the_same_bits() -> None:
    clip = render_clip(draw_scene(3), 5, 128, 192)
    assert (clip.dtype, clip.shape) == (np.uint8, (5, 128, 192, 3))
    digests = {hashlib.sha256(render_clip(draw_scene(3), 5, 128, 192).tobytes()).digest() for _ in range(3)}
    assert digests == {hashlib.sha256(clip.tobytes()).digest()}


@pytest.mark.parametrize(("low", "high", "num_frames"), [((32, 48), (128, 192), 9), ((64, 96), (256, 384), 5)])
def test_the_low_resolution_is_the_area_average_of_the_high_one(
    low: tuple[int, int], high: tuple[int, int], num_frames: int
) -> None:
    for seed in range(12):
        scene = draw_scene(seed)
        drawn = render_clip(scene, num_frames, *low, preview_height=low[0])
        averaged = means(render_clip(scene, num_frames, *high, preview_height=low[0]), 4)
        error = np.abs(averaged - drawn)
        assert np.sqrt(np.square(error).mean()) < (1 if scene.texture == "plain" else 4)
        # Only pixels on the edge of a textured object differ: there a period is cut.
        assert error.max() < (3 if scene.texture == "plain" else 25)


def test_a_scene_without_texture_is_the_same_clip_at_every_size() -> None:
    scene = Scene("star", "pink", "orbit", "gradient", "small", "plain", 1, -1, 2)
    largest = render_clip(scene, 3, 256, 384)
    for cell in (2, 4, 8):
        assert np.abs(means(largest, cell) - render_clip(scene, 3, 256 // cell, 384 // cell)).max() < 3


def test_textures_differ_at_the_high_resolution_alone() -> None:
    scenes = [Scene("ring", "green", "right", "sand", "large", texture) for texture in TEXTURES]
    assert len({render_clip(scene, 3, 32, 48).tobytes() for scene in scenes}) == 1
    plain, *textured = (render_clip(scene, 3, 128, 192).astype(float) for scene in scenes)
    assert all(np.abs(clip - plain).max() == 40 for clip in textured)


@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_adds_up_to_the_area(shape: str) -> None:
    painter = ShapePainter(shape, 11)
    for x, y, radius in ((0, 0, 11), (0.31, -0.44, 7.3), (-0.5, 0.5, 10.9)):
        coverage = painter.coverage(x, y, radius)
        assert coverage.sum() == pytest.approx(area(shape) * radius**2, rel=0.01)


@pytest.mark.parametrize(
    ("height", "width", "preview_height", "message"),
    [
        (100, 150, 32, "100 pixels high and its preview 32; allowed are .*: give such a pair"),
        (8, 12, 8, "preview 8; allowed are previews from 16"),
        (128, 64, 32, "128 x 64 pixels; allowed are widths from the height, .*: 3/2"),
        (96, 144, 32, "period is 3 pixels; allowed are 1, 2 and multiples of 4: give"),
    ],
)
def test_a_size_that_is_not_allowed_is_refused(height: int, width: int, preview_height: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render_clip(draw_scene(0), 2, height, width, preview_height=preview_height)
