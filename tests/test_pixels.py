"""Frames: resizing clamps and keeps flat colours, 8-bit rounding is to nearest."""

import numpy as np
import torch

from fv_ray import pixels


def test_resize_clamps_and_keeps_flat_colours() -> None:
    frames = torch.full((2, 3, 5, 8, 12), 1.5)
    resized = pixels.resize(frames, 24, 30)
    assert resized.shape == (2, 3, 5, 24, 30)
    torch.testing.assert_close(resized, torch.ones_like(resized))


def test_resize_acts_on_each_frame_alone() -> None:
    frames = torch.rand(1, 3, 4, 8, 8)
    whole = pixels.resize(frames, 16, 16)
    torch.testing.assert_close(whole[:, :, 2:3], pixels.resize(frames[:, :, 2:3], 16, 16))


def test_resize_down_is_antialiased() -> None:
    checkerboard = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2 * 2.0 - 1
    small = pixels.resize(checkerboard.expand(1, 3, 1, 64, 64), 16, 16)
    assert small[..., 4:-4, 4:-4].abs().max() < 0.1


def test_to_uint8_rounds_to_nearest_and_clips() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 1 / 127.5 * 0.4, 1.0, 2.0])
    picture = pixels.to_uint8(values.view(1, 1, 1, 6).expand(3, 1, 1, 6))
    assert picture.shape == (1, 1, 6, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]


def test_to_uint8_leaves_its_input() -> None:
    frames = torch.rand(3, 1, 2, 2)
    before = frames.clone()
    pixels.to_uint8(frames)
    assert torch.equal(frames, before)
