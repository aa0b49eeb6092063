"""Frames to files for people and back: H.264 in mp4, WebP thumbnails, WebP spritesheets.

Frames are uint8 RGB, (F, H, W, 3). Knows nothing of models: PyAV and Pillow do the work.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from PIL import Image

from fv_ray.errors import InputError, StorageError
from fv_ray.storage import storage_errors

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
"""x264's, from quick and large to slow and small."""
MAX_CRF = 51
REPEATABLE = {"x264-params": "mbtree=0"}
"""x264's macroblock tree gives other bytes now and then on CPUs with AVX-512; without it equal frames give equal files,
6 % larger."""


@dataclass(frozen=True)
class Encoding:
    """How a clip is encoded, checked when it is made.

    Raises:
        InputError: naming the setting and what is allowed.
    """

    crf: int = 18
    """x264's constant rate factor, 0..51, less is better. 0 is lossless, which browsers do not play."""
    preset: str = "medium"
    """One of `PRESETS`."""

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= MAX_CRF:
            raise InputError(f"crf is {self.crf}; allowed are 0 (lossless) to {MAX_CRF}: 18 looks like the original")
        if self.preset not in PRESETS:
            raise InputError(f"there is no preset {self.preset!r}; allowed are {', '.join(PRESETS)}: medium suits most")


@dataclass(frozen=True)
class VideoFileInfo:
    """What is true of an encoded clip."""

    num_frames: int
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: int
    crf: int
    preset: str
    size_bytes: int


def encode_mp4(
    chunks: Iterable[np.ndarray],
    target: str | Path | BinaryIO,
    *,
    fps: int,
    crf: int = 18,
    preset: str = "medium",
    num_threads: int = 0,
) -> VideoFileInfo:
    """Encode a clip as it arrives: H.264, yuv420p, BT.709, playable before it is downloaded (faststart).

    One background thread encodes a chunk while `chunks` makes the next. `target` gets the finished file in one piece;
    after an error a path is as it was before.

    Args:
        chunks: uint8 RGB, (F, H, W, 3), any F, H and W even; iterated over in the caller's thread. A chunk that was
            given must not be written to again.
        target: a path, or any writable binary file: it need not seek.
        fps: frames per second.
        crf: x264's constant rate factor, 0..51, less is better. 0 is lossless, which browsers do not play.
        preset: one of `PRESETS`.
        num_threads: of x264; 0 is as many as suit the machine.

    Raises:
        InputError: there are no frames, or a value is not allowed.
        StorageError: the file cannot be written.
    """
    Encoding(crf, preset)  # refuses what x264 cannot do
    if fps <= 0:
        raise InputError(f"fps is {fps}; allowed are whole numbers from 1: give the clip's frames per second")
    checked = _checked(chunks)
    first = next(checked, None)
    if first is None:
        raise InputError("there are no frames to encode; allowed are one or more: give at least one")
    num_frames, height, width, _ = first.shape
    options = {"crf": str(crf), "preset": preset, "threads": str(num_threads), **REPEATABLE}
    with _delivered(target) as file:
        with (
            _h264_encoder(file, target, first.shape[1:3], fps, options) as encode,
            ThreadPoolExecutor(1, thread_name_prefix="encode_mp4") as thread,
        ):
            pending = thread.submit(encode, first)
            for chunk in checked:
                pending.result()
                pending = thread.submit(encode, chunk)
                num_frames += len(chunk)
            pending.result()
        size_bytes = file.stat().st_size
    return VideoFileInfo(num_frames, height, width, fps, crf, preset, size_bytes)


def read_frames(source: str | Path | BinaryIO) -> np.ndarray:
    """Decode a whole video file, named or open, to uint8 RGB, (F, H, W, 3).

    Raises:
        StorageError: the file is missing, not a video, or cut short.
    """
    try:
        with av.open(str(source) if isinstance(source, str | Path) else source) as container:
            num_frames = container.streams.video[0].frames
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (OSError, IndexError, av.FFmpegError) as error:
        raise StorageError(
            f"{source} cannot be read as a video ({error}); give a video file, or make it again"
        ) from error
    if not frames or len(frames) < num_frames:
        raise StorageError(f"{source} holds {len(frames)} of {num_frames} frames; all must be there: make it again")
    return np.stack(frames)


def shrink(frame_HWC: np.ndarray, max_side: int) -> np.ndarray:
    """Resize a frame so that its longer side is at most `max_side` pixels; a smaller one is left as it is."""
    image = Image.fromarray(frame_HWC)
    image.thumbnail((max_side, max_side))
    return np.asarray(image)


def write_thumbnail(frame_HWC: np.ndarray, path: str | Path, max_side: int = 320) -> None:
    """Write one frame as WebP, its longer side at most `max_side` pixels.

    Raises:
        InputError: it is not a uint8 RGB frame.
        StorageError: the file cannot be written.
    """
    _check_frames(frame_HWC[None])
    with _writing(path):
        Image.fromarray(shrink(frame_HWC, max_side)).save(path, "WEBP")


def write_spritesheet(
    frames_FHWC: np.ndarray, path: str | Path, *, num_tiles: int = 9, columns: int = 3, tile_width: int = 160
) -> None:
    """Write evenly spaced frames, the first and the last among them, as one WebP in reading order.

    Args:
        frames_FHWC: uint8 RGB; where there are fewer than `num_tiles`, each is shown once.
        path: of the WebP.
        num_tiles: frames to show.
        columns: tiles in a row.
        tile_width: pixels; the height keeps the aspect ratio.

    Raises:
        InputError: these are not uint8 RGB frames, or there are none.
        StorageError: the file cannot be written.
    """
    _check_frames(frames_FHWC)
    num_frames, height, width, _ = frames_FHWC.shape
    if num_frames == 0:
        raise InputError("there are no frames to show; allowed are one or more: give at least one")
    shown = np.linspace(0, num_frames - 1, min(num_tiles, num_frames)).round().astype(int)
    tile_height = max(1, round(tile_width * height / width))
    num_rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (tile_width * min(columns, len(shown)), tile_height * num_rows))
    for place, frame in enumerate(frames_FHWC[shown]):
        row, column = divmod(place, columns)
        sheet.paste(Image.fromarray(frame).resize((tile_width, tile_height)), (column * tile_width, row * tile_height))
    with _writing(path):
        sheet.save(path, "WEBP")


def _writing(target: str | Path | BinaryIO) -> AbstractContextManager[None]:
    return storage_errors(target, av.FFmpegError)


@contextmanager
def _delivered(target: str | Path | BinaryIO) -> Iterator[Path]:
    """Give a temporary file's path; what the block wrote there goes to `target` when it ends without an error.

    Always a file of our own: faststart reads back and moves what it wrote, which few file objects can bear.
    """
    beside = Path(target).parent if isinstance(target, str | Path) else None
    with _writing(target):
        staging = TemporaryDirectory(prefix=".encode_mp4.", dir=beside)
    with staging as folder:
        file = Path(folder) / "clip.mp4"
        yield file
        with _writing(target):
            if isinstance(target, str | Path):
                os.replace(file, target)
            else:
                with file.open("rb") as source:
                    shutil.copyfileobj(source, target)


@contextmanager
def _h264_encoder(
    file: Path, target: str | Path | BinaryIO, size: tuple[int, ...], fps: int, options: dict[str, str]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that appends a chunk of frames to `file`, which is complete when the block ends.

    `target` is what an error names; `size` is height and width.
    """
    with _writing(target):
        container = av.open(str(file), "w", format="mp4", options={"movflags": "+faststart"})
    try:
        stream = container.add_stream("libx264", rate=fps, options=options)
        (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
        codec = stream.codec_context
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        reformatter = VideoReformatter()

        def encode(chunk_FHWC: np.ndarray) -> None:
            with _writing(target):
                for frame_HWC in chunk_FHWC:
                    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
                    container.mux(stream.encode(_to_yuv(reformatter, rgb)))

        yield encode
        with _writing(target):
            container.mux(stream.encode(None))
    finally:
        with _writing(target):
            container.close()


def _to_yuv(reformatter: VideoReformatter, rgb: av.VideoFrame) -> av.VideoFrame:
    """Full-range RGB to limited-range BT.709: what the stream's tags tell players."""
    return reformatter.reformat(
        rgb,
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,  # chroma is biased without it
    )


def _checked(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The chunks that hold frames, each checked when its turn comes."""
    size: tuple[int, ...] | None = None
    for chunk in chunks:
        _check_frames(chunk)
        height, width = chunk.shape[1:3]
        if not (height and width) or height % 2 or width % 2:
            raise InputError(
                f"the frames are {height} x {width} pixels; yuv420p allows even sides from 2: crop or resize them"
            )
        size = size or (height, width)
        if (height, width) != size:
            raise InputError(
                f"a chunk's frames are {height} x {width} pixels after others of {size[0]} x {size[1]}; "
                "a clip allows one size: give all frames the same"
            )
        if len(chunk):
            yield chunk


def _check_frames(frames_FHWC: np.ndarray) -> None:
    if frames_FHWC.dtype != np.uint8 or frames_FHWC.ndim != 4 or frames_FHWC.shape[3] != 3:
        raise InputError(
            f"the frames are {frames_FHWC.dtype} of shape {frames_FHWC.shape}; allowed are uint8 RGB of shape "
            "(F, H, W, 3): convert float frames first, and give a single clip as a list of one chunk"
        )
