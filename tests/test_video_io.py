"""Files that really play: encoded, then opened again by PyAV and Pillow."""

import io
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fv_ray.errors import InputError, StorageError
from fv_ray.video_io import (
    VideoFileInfo,
    encode_mp4,
    read_frames,
    shrink,
    write_spritesheet,
    write_thumbnail,
)

ROOT = Path(__file__).parents[1]


def clip(num_frames: int = 9, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame i is grey 20 i, under one white row of pixels."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[:] = 20 * np.arange(num_frames)[:, None, None, None]
    frames[:, 0] = 255
    return frames


def noise(num_frames: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def top_level_atoms(mp4: bytes) -> list[str]:
    names, start = [], 0
    while start < len(mp4):
        names.append(mp4[start + 4 : start + 8].decode())
        start += int.from_bytes(mp4[start : start + 4], "big")
    return names


def encoder_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("encode_mp4")]


def test_it_plays(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    info = encode_mp4([clip()], file, fps=8)
    assert info == VideoFileInfo(9, 32, 48, fps=8, crf=18, preset="medium", size_bytes=file.stat().st_size)
    with av.open(str(file)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate, stream.frames) == (48, 32, 8, 9)
        assert float(stream.duration * stream.time_base) == 9 / 8
        assert [frame.time for frame in container.decode(stream)] == [i / 8 for i in range(9)]
    difference = read_frames(file)[:, 4:].astype(int) - clip()[:, 4:]
    assert np.abs(difference).mean() < 3


def test_it_starts_before_it_is_downloaded(tmp_path: Path) -> None:
    encode_mp4([clip()], tmp_path / "clip.mp4", fps=8)
    atoms = top_level_atoms((tmp_path / "clip.mp4").read_bytes())
    assert atoms.index("moov") < atoms.index("mdat")


def test_a_file_object_gets_the_same_bytes(tmp_path: Path) -> None:
    encode_mp4([clip()], tmp_path / "clip.mp4", fps=8)
    target = io.BytesIO()
    encode_mp4([clip()], target, fps=8)
    assert target.getvalue() == (tmp_path / "clip.mp4").read_bytes()


def test_a_file_object_need_not_seek() -> None:
    with subprocess.Popen(["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counter:
        assert counter.stdin is not None
        assert counter.stdout is not None
        info = encode_mp4([clip()], counter.stdin, fps=8)
        counter.stdin.close()
        assert int(counter.stdout.read()) == info.size_bytes


def test_chunks_make_no_difference(tmp_path: Path) -> None:
    frames = noise(11)
    encode_mp4([frames], tmp_path / "whole.mp4", fps=8)
    encode_mp4([frames[:5], frames[5:5], frames[5:6], frames[6:]], tmp_path / "chunks.mp4", fps=8)
    assert np.array_equal(read_frames(tmp_path / "whole.mp4"), read_frames(tmp_path / "chunks.mp4"))


def test_frames_need_not_be_contiguous(tmp_path: Path) -> None:
    frames = noise(3)
    encode_mp4([frames], tmp_path / "plain.mp4", fps=8)
    encode_mp4([np.asfortranarray(frames)], tmp_path / "strided.mp4", fps=8)
    assert np.array_equal(read_frames(tmp_path / "plain.mp4"), read_frames(tmp_path / "strided.mp4"))


@pytest.mark.parametrize(
    "colour",
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (224, 172, 105), (0, 0, 0), (255, 255, 255)],
)
def test_colours_are_right(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    frames = np.broadcast_to(np.array(colour, np.uint8), (5, 32, 48, 3))
    encode_mp4([frames], tmp_path / "flat.mp4", fps=8)
    errors = np.abs(read_frames(tmp_path / "flat.mp4").astype(int) - colour).mean(axis=(0, 1, 2))
    assert (errors <= 1.5).all()


def test_colours_are_those_of_the_standard(tmp_path: Path) -> None:
    """ITU-R BT.709-6, items 3.2 to 3.4, limited range; lossless, so that only the conversion is seen."""
    colours = np.random.default_rng(0).integers(0, 256, (100, 3), dtype=np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (100, 16, 16, 3))
    encode_mp4([frames], tmp_path / "flat.mp4", fps=8, crf=0)
    with av.open(str(tmp_path / "flat.mp4")) as container:
        codec = container.streams.video[0].codec_context
        tags = (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
        yuv = np.stack([frame.to_ndarray()[[0, 16, -1], 0] for frame in container.decode(video=0)])
    assert tags == (1, 1, 1, 1)  # BT.709 three times, limited range
    red, green, blue = colours.T / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma_blue, chroma_red = (blue - luma) / 1.8556, (red - luma) / 1.5748
    standard = np.stack([16 + 219 * luma, 128 + 224 * chroma_blue, 128 + 224 * chroma_red], axis=1)
    assert np.abs(yuv - standard).max() < 0.52  # rounding


def test_a_smaller_crf_is_closer(tmp_path: Path) -> None:
    frames = noise(3)
    errors = []
    for crf in (1, 40):
        encode_mp4([frames], tmp_path / "noise.mp4", fps=8, crf=crf, preset="ultrafast")
        errors.append(np.abs(read_frames(tmp_path / "noise.mp4").astype(int) - frames).mean())
    assert errors[0] < errors[1]


class WatchedChunk(np.ndarray):
    """Frames that tell when the encoder begins with them and after it has ended, and can make it wait."""

    index: int
    log: list[str]
    may_begin: threading.Event

    def __iter__(self) -> Iterator[np.ndarray]:
        assert threading.current_thread() is not threading.main_thread()
        assert self.may_begin.wait(timeout=60), "the next chunk is not asked for while this one is encoded"
        yield from np.asarray(self)
        self.log.append(f"encoded {self.index}")


def test_a_chunk_is_encoded_while_the_next_is_made(tmp_path: Path) -> None:
    log: list[str] = []
    events = [threading.Event() for _ in range(4)]

    def chunks() -> Iterator[np.ndarray]:
        for index in range(4):
            log.append(f"make {index}")
            if index:
                events[index - 1].set()  # only now may the previous one be encoded
            chunk = clip(2).view(WatchedChunk)
            chunk.index, chunk.log, chunk.may_begin = index, log, events[index]
            yield chunk
        events[-1].set()

    encode_mp4(chunks(), tmp_path / "clip.mp4", fps=8)
    for index in range(1, 4):
        assert log.index(f"make {index}") < log.index(f"encoded {index - 1}")  # at once
    for index in range(2, 4):
        assert log.index(f"encoded {index - 2}") < log.index(f"make {index}")  # but never far ahead
    assert encoder_threads() == []


def test_an_error_of_the_caller_reaches_it_and_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield clip()
        yield clip()
        raise OSError("the GPU is gone")

    with pytest.raises(OSError, match="the GPU is gone"):
        encode_mp4(chunks(), tmp_path / "clip.mp4", fps=8)
    assert list(tmp_path.iterdir()) == []
    assert encoder_threads() == []


def test_after_an_error_a_file_is_as_it_was(tmp_path: Path) -> None:
    file, stream = tmp_path / "clip.mp4", io.BytesIO()
    file.write_bytes(b"before")
    for target in (file, stream):
        with pytest.raises(InputError):
            encode_mp4([clip(), clip(height=64)], target, fps=8)
    assert file.read_bytes() == b"before"
    assert stream.getvalue() == b""


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    encode_mp4([clip()], tmp_path / "clip.mp4", fps=8)
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "clip.mp4").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("missing", "file"):
        with pytest.raises(StorageError, match=rf"{folder}.clip\.mp4 cannot be written \(.*\); free space or give ano"):
            encode_mp4([clip()], tmp_path / folder / "clip.mp4", fps=8)
    with pytest.raises(StorageError, match="Is a directory"):
        encode_mp4([clip()], tmp_path, fps=8)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_full_disk(tmp_path: Path) -> None:
    """At the first byte, midway, and when the header moves to the front."""
    size = encode_mp4([noise(20)], tmp_path / "whole.mp4", fps=8).size_bytes
    (tmp_path / "whole.mp4").unlink()
    program = f"""
import resource, threading
import numpy as np
from pathlib import Path
from fv_ray.errors import StorageError
from fv_ray.video_io import encode_mp4
from tests.test_video_io import noise
frames = noise(20)
for limit in (0, 40, {size // 2}, {size - 1}):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        encode_mp4(iter([frames[:10], frames[10:]]), Path({str(tmp_path)!r}) / "clip.mp4", fps=8)
    except StorageError as error:
        print(error, threading.active_count())
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    for line in lines:
        assert line.startswith(f"{tmp_path / 'clip.mp4'} cannot be written ([Errno 27] File too large")
        assert line.endswith("; free space or give another folder 1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("chunks", "settings", "message"),
    [
        ([], {}, "there are no frames to encode; allowed are one or more: give at least one"),
        ([clip(0)], {}, "there are no frames to encode"),
        ([clip(height=33)], {}, "the frames are 33 x 48 pixels; yuv420p allows even sides from 2: crop or resize them"),
        ([clip(width=47)], {}, "the frames are 32 x 47 pixels"),
        ([clip(width=0)], {}, "the frames are 32 x 0 pixels"),
        ([clip().astype(np.float32)], {}, r"the frames are float32 of shape \(9, 32, 48, 3\); allowed are uint8 RGB"),
        (clip(), {}, r"the frames are uint8 of shape \(32, 48, 3\); .* give a single clip as a list of one chunk"),
        ([clip()[..., :2]], {}, r"the frames are uint8 of shape \(9, 32, 48, 2\)"),
        ([clip(), clip(height=34)], {}, "a chunk's frames are 34 x 48 pixels after others of 32 x 48; a clip allows"),
        ([clip()], {"crf": -1}, r"crf is -1; allowed are 0 \(lossless\) to 51: 18 looks like the original"),
        ([clip()], {"crf": 52}, "crf is 52; allowed are"),
        ([clip()], {"preset": "best"}, "there is no preset 'best'; allowed are ultrafast, .*: medium suits most"),
        ([clip()], {"fps": 0}, "fps is 0; allowed are whole numbers from 1: give the clip's frames per second"),
        ([clip()], {"fps": -8}, "fps is -8; allowed are"),
    ],
)
def test_what_cannot_be_encoded(tmp_path: Path, chunks: list[np.ndarray], settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode_mp4(chunks, tmp_path / "clip.mp4", **{"fps": 8, **settings})
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read_frames(tmp_path / "missing.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(StorageError, match=r"text\.mp4 cannot be read as a video \(.*\); give a video file"):
        read_frames(text)


def test_a_file_that_is_cut_anywhere_is_not_read(tmp_path: Path) -> None:
    target, cut = io.BytesIO(), tmp_path / "cut.mp4"
    encode_mp4([clip()], target, fps=8)
    content = target.getvalue()
    messages = []
    for length in range(0, len(content), 32):
        cut.write_bytes(content[:length])
        with pytest.raises(StorageError, match=r"cut\.mp4 ") as error:
            read_frames(cut)
        messages.append(str(error.value))
    assert any(message.endswith("of 9 frames; all must be there: make it again") for message in messages)


@pytest.mark.parametrize(
    ("size", "shrunk"), [((1072, 1920), (179, 320)), ((1920, 1072), (320, 179)), ((100, 60), (100, 60))]
)
def test_a_thumbnail_keeps_its_shape(tmp_path: Path, size: tuple[int, int], shrunk: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    frame[:, : size[1] // 2] = (250, 10, 10)
    write_thumbnail(frame, tmp_path / "frame.webp")
    with Image.open(tmp_path / "frame.webp") as image:
        assert (image.format, image.size) == ("WEBP", shrunk[::-1])
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels[:, : shrunk[1] // 2 - 4] - (250, 10, 10)).mean() < 5
    assert pixels[:, shrunk[1] // 2 + 4 :].mean() < 5
    assert shrink(frame, 320).shape == (*shrunk, 3)


@pytest.mark.parametrize(
    ("num_frames", "options", "grid", "shown"),
    [
        (12, {}, (3, 3), [0, 1, 3, 4, 6, 7, 8, 10, 11]),
        (9, {}, (3, 3), list(range(9))),
        (4, {}, (2, 3), [0, 1, 2, 3]),
        (1, {}, (1, 1), [0]),
        (11, {"num_tiles": 3, "columns": 2, "tile_width": 80}, (2, 2), [0, 5, 10]),
    ],
)
def test_a_spritesheet_shows_evenly_spaced_frames(
    tmp_path: Path, num_frames: int, options: dict[str, int], grid: tuple[int, int], shown: list[int]
) -> None:
    write_spritesheet(clip(num_frames, 64, 96), tmp_path / "sheet.webp", **options)
    width = options.get("tile_width", 160)
    height = round(width * 64 / 96)
    rows, columns = grid
    with Image.open(tmp_path / "sheet.webp") as image:
        assert (image.format, image.size) == ("WEBP", (columns * width, rows * height))
        pixels = np.asarray(image.convert("RGB"))
    tiles = pixels.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
    greys = tiles[:, height // 4 :].mean(axis=(1, 2, 3)) / 20
    assert [round(grey) for grey in greys[: len(shown)]] == shown
    assert (greys[len(shown) :] < 0.5).all()


def test_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no frames to show"):
        write_spritesheet(clip(0), tmp_path / "sheet.webp")
    with pytest.raises(InputError, match="the frames are float64"):
        write_spritesheet(clip().astype(float), tmp_path / "sheet.webp")
    with pytest.raises(InputError, match=r"the frames are uint8 of shape \(1, 32, 48\)"):
        write_thumbnail(clip()[0, ..., 0], tmp_path / "frame.webp")
    with pytest.raises(StorageError, match=r"frame\.webp cannot be written"):
        write_thumbnail(clip()[0], tmp_path / "missing" / "frame.webp")
    with pytest.raises(StorageError, match=r"sheet\.webp cannot be written"):
        write_spritesheet(clip(), tmp_path / "missing" / "sheet.webp")
    assert list(tmp_path.iterdir()) == []
