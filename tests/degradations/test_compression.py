"""Codecs: the same size and colours come back, with the more damage the fewer bits."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from fv_ray.degradations.compression import VideoCodec, compress_jpeg, compress_video

CODECS = get_args(VideoCodec)


def textured(num_frames: int, side: int = 32) -> list[Tensor]:
    """Noise that moves to the right: rate control needs frames to act on."""
    frame = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    return [frame.roll(index, 2) for index in range(num_frames)]


def damage(before: list[Tensor], after: list[Tensor]) -> float:
    return float((torch.stack(before) - torch.stack(after)).abs().mean())


def test_jpeg_damages_more_at_lower_quality() -> None:
    (frame,) = textured(1)
    poor, good = (compress_jpeg(frame, quality) for quality in (10, 95))
    assert poor.shape == good.shape == frame.shape
    assert 0 < damage([frame], [good]) < damage([frame], [poor])
    assert torch.equal(poor, compress_jpeg(frame, 10))


@pytest.mark.parametrize("codec", CODECS)
def test_a_video_codec_damages_more_at_a_lower_bit_rate(codec: VideoCodec) -> None:
    clip = textured(20)
    poor, good = (compress_video(clip, codec, bits) for bits in (1000, 20_000))
    assert [frame.shape for frame in good] == [frame.shape for frame in clip]
    assert 0 < damage(clip, good) < damage(clip, poor)
    assert all(torch.equal(*pair) for pair in zip(poor, compress_video(clip, codec, 1000), strict=True))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("side", [2, 16])
def test_a_single_tiny_frame_comes_back(codec: VideoCodec, side: int) -> None:
    (frame,) = compress_video(textured(1, side), codec, 0)
    assert frame.shape == (3, side, side)


@pytest.mark.parametrize("codec", [*CODECS, "jpeg"])
def test_frames_keep_their_order_and_colours(codec: str) -> None:
    colours = [torch.tensor(colour).view(3, 1, 1) for colour in ([0.6, -0.2, -0.4], [-0.5, 0.5, 0.1], [0.0, 0.0, 0.7])]
    clip = [colour.expand(3, 32, 32).contiguous() for colour in colours]
    after = [compress_jpeg(frame, 90) for frame in clip] if codec == "jpeg" else compress_video(clip, codec, 10_000)  # type: ignore[arg-type]
    torch.testing.assert_close(torch.stack(after), torch.stack(clip), atol=0.05, rtol=0)
