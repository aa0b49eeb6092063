"""Figures by their properties: exact values where these are known, order where noise grows, refusal of no clips."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fv_ray.errors import InputError
from fv_ray.metrics import area_downsample, faithfulness, flicker, psnr, ssim


def clip(seed: int = 0, num_frames: int = 4, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    return frames + np.random.default_rng(1).normal(0, sigma, frames.shape)


def test_equal_clips() -> None:
    assert psnr(clip(), clip()) == math.inf
    assert ssim(clip(), clip()) == pytest.approx(1)


@given(st.integers(1, 255))
def test_psnr_of_an_even_difference_is_known(levels: int) -> None:
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    assert psnr(frames + np.uint8(levels), frames) == pytest.approx(20 * math.log10(255 / levels))


def test_an_8_bit_clip_does_not_wrap_around() -> None:
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    assert psnr(black, white) == psnr(white, black) == 0


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_more_noise_is_further_away_and_order_does_not_matter(figure: object) -> None:
    assert callable(figure)
    found = [figure(noisy(clip(), sigma), clip()) for sigma in (2, 8, 32)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3
    assert figure(noisy(clip(), 8), clip()) == pytest.approx(figure(clip().astype(float), noisy(clip(), 8)))


@given(st.integers(-3, 3))
def test_a_clip_that_fades_evenly_does_not_flicker(levels_a_frame: int) -> None:
    fade = 128 + levels_a_frame * np.arange(9.0)[:, None, None, None] + np.zeros((9, 16, 16, 3))
    assert flicker(fade) == 0


def test_flicker_is_the_second_difference() -> None:
    blinking = np.zeros((9, 4, 4, 3), np.uint8)
    blinking[::2] = 10
    assert flicker(blinking) == 20
    assert flicker(noisy(np.zeros_like(blinking), 5)) > flicker(noisy(np.zeros_like(blinking), 1)) > 0


def test_averaging_by_area_keeps_the_mean_at_any_ratio() -> None:
    frames = clip(height=30, width=44)
    for height, width in ((15, 11), (7, 13), (30, 44)):
        small = area_downsample(frames, height, width)
        assert small.shape == (4, height, width, 3)
        np.testing.assert_allclose(small.mean((1, 2)), frames.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        area_downsample(frames, 15, 11), frames.reshape(4, 15, 2, 11, 4, 3).mean((2, 4)), rtol=1e-5
    )


def test_details_that_average_out_are_faithful_and_another_picture_is_not() -> None:
    preview = clip()
    video = preview.repeat(4, axis=1).repeat(4, axis=2).astype(float)
    video[:, ::2] += 20
    video[:, 1::2] -= 20
    assert faithfulness(video, preview) > 100
    assert faithfulness(video[:, ::-1], preview) < 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psnr(clip(), clip(height=8)), r"\(4, 16, 24, 3\) and \(4, 8, 24, 3\); allowed are equal"),
        (lambda: psnr(clip()[0], clip()[0]), r"uint8 of shape \(16, 24, 3\); allowed are"),
        (lambda: flicker(clip().astype(int)), "int64 of shape"),
        (lambda: flicker(clip(num_frames=2)), "has 2 frames; allowed are 3"),
        (lambda: ssim(clip(height=8), clip(height=8)), "8 x 24 pixels; allowed are 11"),
        (lambda: area_downsample(clip(), 17, 24), "cannot be averaged to 17 x 24"),
        (lambda: faithfulness(clip(num_frames=3), clip()), "allowed are equal"),
    ],
)
def test_what_is_no_clip_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(InputError, match=message):
        call()
