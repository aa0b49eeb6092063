"""Frames through a lossy codec: JPEG frame by frame with Pillow, a whole clip as video with PyAV.

Float frames (3, H, W), -1..1 nominal, on any device; the codecs see uint8 on the CPU. Streams stay in memory.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from typing import Literal

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fv_ray import pixels

VideoCodec = Literal["libx264", "mpeg4"]

MIN_BITS_PER_FRAME = 1000
"""x264 counts in thousands of bits a second and takes less than one for no limit."""

_DECODERS = {"libx264": "h264", "mpeg4": "mpeg4"}
_FRAME_S = Fraction(1)  # seconds: a bit rate is then bits a frame [mmagic, RandomVideoCompression]


def compress_jpeg(frame_CHW: Tensor, quality: int) -> Tensor:
    """One frame after JPEG at `quality` (1..95, libjpeg's), with 4:2:0 chroma."""
    file = BytesIO()
    Image.fromarray(_to_picture(frame_CHW)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return _to_frame(np.asarray(Image.open(file)), frame_CHW)


def compress_video(frames: Sequence[Tensor], codec: VideoCodec, bits_per_frame: int) -> list[Tensor]:
    """A clip after a video codec at an average bit rate, which the first frames of a short clip exceed.

    One thread: what an encoder writes may depend on their number, and a seed must mean the same everywhere.

    Args:
        frames: (3, H, W) each, all of one size with even sides.
        codec: the encoder.
        bits_per_frame: raised to `MIN_BITS_PER_FRAME`.
    """
    height, width = frames[0].shape[1:]
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.pix_fmt = height, width, "yuv420p"
    encoder.time_base, encoder.framerate = _FRAME_S, 1 / _FRAME_S
    encoder.bit_rate = max(bits_per_frame, MIN_BITS_PER_FRAME)
    encoder.thread_count = 1
    if codec == "libx264":
        encoder.options = {"x264-params": "mbtree=0"}  # the macroblock tree gives other bytes now and then
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    decoder.thread_count = 1
    pictures = [
        picture.to_ndarray(format="rgb24")
        for packet in [*_packets(encoder, frames), None]  # None makes the decoder give what it holds back
        for picture in decoder.decode(packet)
    ]
    return [_to_frame(picture, frame) for picture, frame in zip(pictures, frames, strict=True)]


def _packets(encoder: av.VideoCodecContext, frames: Sequence[Tensor]) -> Iterator[av.Packet]:
    for index, frame_CHW in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(_to_picture(frame_CHW), format="rgb24")
        picture.pts, picture.time_base = index, _FRAME_S
        yield from encoder.encode(picture)
    yield from encoder.encode(None)


def _to_picture(frame_CHW: Tensor) -> np.ndarray:
    return pixels.to_uint8(frame_CHW[:, None])[0]


def _to_frame(picture_HWC: np.ndarray, like_CHW: Tensor) -> Tensor:
    picture = torch.from_numpy(picture_HWC.copy()).to(like_CHW.device)
    return picture.permute(2, 0, 1).contiguous().to(like_CHW.dtype) / 127.5 - 1
