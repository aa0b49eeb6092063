"""One block of video files to one Parquet shard of clips, and a record of what was rejected.

    OUTPUT/clips/000000.parquet   absent where no clip was good
           blocks/000000.json     written last: the block is done
           blocks/000000.begun    which file is being read, while one is

Whatever is broken in a file ends in the record. What ends the whole process is met by the next attempt, which passes
over a file that did it twice.
"""

import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from fv_ray.storage import storage_errors
from fv_ray.training.clips import DECODE_ERRORS, Clip, ClipRecipe, decode_clips
from fv_ray.video_io import encode_mp4
from jobs.list_videos import VideoFile
from jobs.run_folder import write_whole

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("fps", pa.int32(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("mp4", pa.binary(), nullable=False),
    ]
)
ROW_GROUP_BYTES = 2**20
"""Of mp4, about: what a reader reads for one clip of it, in whatever order it takes them."""
MAX_CRASHES = 2
"""Of one file, before it is passed over."""


@dataclass(frozen=True)
class Block:
    """Files that are finished together."""

    number: int
    files: tuple[VideoFile, ...]
    run: str
    """Whose attempt it is: a file is blamed only for crashes that the run survived."""

    @property
    def name(self) -> str:
        """Of its files, without suffix."""
        return f"{self.number:06d}"


def write_shard(block: Block, recipe: ClipRecipe, output: str) -> dict[str, Any]:
    """Cut a block's files to clips and write what came of them; return the block's record.

    Raises:
        StorageError: the output cannot be written.
    """
    fs, root = fsspec.core.url_to_fs(output)
    begun = f"{root}/blocks/{block.name}.begun"
    with storage_errors(output):
        crashes = _crashes(fs, begun, block.run)
    rejects: list[dict[str, Any]] = []
    with _shard(fs, f"{root}/clips", f"{block.name}.parquet") as shard:
        for index, file in enumerate(block.files):
            if crashes.get(str(index), 0) >= MAX_CRASHES:
                rejects.append(_reject(file, 0.0, "fatal", f"reading it ended the worker {MAX_CRASHES} times"))
                continue
            with storage_errors(output):
                note = {"run": block.run, "reading": index, "crashes": crashes}
                write_whole(fs, begun, json.dumps(note).encode())
            for row in _rows(file, recipe):
                if "code" in row:
                    rejects.append(row)
                else:
                    shard.add(row)
    record = {
        "block": block.number,
        "num_files": len(block.files),
        "num_clips": shard.num_clips,
        "rejects": rejects,
    }
    with storage_errors(output):
        write_whole(fs, f"{root}/blocks/{block.name}.json", (json.dumps(record, indent=1) + "\n").encode())
        if fs.exists(begun):
            fs.rm_file(begun)
    return record


def clip_id(path: str, start_s: float) -> str:
    """The same for the same place of the same file, however it is cut after that."""
    return hashlib.sha256(f"{path}@{start_s:.6f}".encode()).hexdigest()[:24]


def _crashes(fs: fsspec.AbstractFileSystem, begun: str, run: str) -> dict[str, int]:
    """How often each file ended a worker of this run: one is named in the note that such a worker left behind."""
    try:
        note = json.loads(fs.cat_file(begun))
    except (FileNotFoundError, ValueError):
        return {}
    if note["run"] != run:
        return {}
    crashes: dict[str, int] = note["crashes"]
    key = str(note["reading"])
    return {**crashes, key: crashes.get(key, 0) + 1}


def _rows(file: VideoFile, recipe: ClipRecipe) -> Iterator[dict[str, Any]]:
    """A file's clips and rejects, as rows of their tables."""
    if file.is_repeated:
        yield _reject(file, 0.0, "repeated", "an earlier row has the same path")
        return
    if not file.caption:
        yield _reject(file, 0.0, "no_caption", "neither a table nor a text file beside it says what it shows")
        return
    try:
        opened = fsspec.open(file.url, "rb").open()
    except (*DECODE_ERRORS, ImportError) as error:
        yield _reject(file, 0.0, "unreadable", f"{type(error).__name__}: {error}")
        return
    with opened:
        for result in decode_clips(opened, recipe):
            if isinstance(result, Clip):
                yield _clip(file, result, recipe)
            else:
                yield _reject(file, **asdict(result))


def _clip(file: VideoFile, clip: Clip, recipe: ClipRecipe) -> dict[str, Any]:
    mp4 = io.BytesIO()
    encode_mp4([clip.frames_FHWC], mp4, fps=recipe.fps, crf=recipe.crf, num_threads=1)
    num_frames, height, width, _ = clip.frames_FHWC.shape
    return {
        "clip_id": clip_id(file.path, clip.start_s),
        "path": file.path,
        "caption": file.caption,
        "start_s": clip.start_s,
        "fps": recipe.fps,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "mp4": mp4.getvalue(),
    }


def _reject(file: VideoFile, start_s: float, code: str, reason: str) -> dict[str, Any]:
    return {"path": file.path, "start_s": start_s, "code": code, "reason": reason}


class _Shard:
    """A Parquet file that is begun by its first clip."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str) -> None:
        self.num_clips = 0
        self._fs, self._path = fs, path
        self._pending: list[dict[str, Any]] = []
        self._num_pending_bytes = 0
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, clip: dict[str, Any]) -> None:
        self.num_clips += 1
        self._pending.append(clip)
        self._num_pending_bytes += len(clip["mp4"])
        if self._num_pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        try:
            if self._pending:
                self._flush()
            if self._writer is not None:
                self._writer.close()
        finally:
            if self._file is not None:
                self._file.close()

    def _flush(self) -> None:
        with storage_errors(self._path):
            if self._writer is None:
                self._file = self._fs.open(self._path, "wb")
                self._writer = pq.ParquetWriter(self._file, SCHEMA, compression="none")  # H.264 is compressed
            self._writer.write_table(pa.Table.from_pylist(self._pending, SCHEMA))
        self._pending, self._num_pending_bytes = [], 0


@contextmanager
def _shard(fs: fsspec.AbstractFileSystem, folder: str, name: str) -> Iterator[_Shard]:
    """Give a shard that gets its name when the block ends without an error."""
    staged = f"{folder}/.{name}.{uuid.uuid4().hex}"
    shard = _Shard(fs, staged)
    try:
        yield shard
    finally:
        with storage_errors(folder):
            shard.close()
    if shard.num_clips:
        with storage_errors(folder):
            fs.mv(staged, f"{folder}/{name}")
