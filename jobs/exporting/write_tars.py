"""A run's clips to WebDataset's tar shards: KEY.mp4, KEY.txt with the prompt, KEY.json with the rest.

    OUTPUT/videos-000000.tar ...

KEY is the row's number and its id as far as a key may hold it: a reader takes what follows the first dot for the kind
of file, and ids are a person's words, which may be the same twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from webdataset import TarWriter

from fv_ray.artifact_store import Artifact
from fv_ray.blobs import Blobs
from fv_ray.storage import storage_errors
from jobs.exporting.copy_clips import exported_rows, in_order, read_clip
from jobs.exporting.describe_sample import describe_sample
from jobs.exporting.read_run import Run, RunRow
from jobs.generation.ask_store import ask

MAX_ID_CHARACTERS = 60
"""In a key: tar's plain names have at most 100."""

Sample = tuple[RunRow, Artifact]


def write_tars(run: Run, output: Blobs, folder: Path, *, shard_mb: float, repeats: bool) -> dict[str, int]:
    """Write the shards that are not there yet, each whole; how many clips and shards there are then.

    Args:
        run: whose clips.
        output: place of the shards.
        folder: for temporary files.
        shard_mb: of clips in a shard, at most, unless a single one has more.
        repeats: rows too that ask for what an earlier one asks for.

    Raises:
        ArtifactDamaged: a clip is not what was made; its shard is not written.
        StorageError: a place cannot be read or written.
    """
    done = set(ask(output.files, ""))
    num_clips = num_shards = 0
    for number, samples in enumerate(_shards(exported_rows(run, repeats=repeats), round(shard_mb * 10**6))):
        name = f"{run.kind}s-{number:06d}.tar"
        if name not in done:
            _write_tar(run, samples, folder / "shard.tar")
            ask(output.put, name, folder / "shard.tar")
        num_clips, num_shards = num_clips + len(samples), number + 1
    return {"num_clips": num_clips, "num_shards": num_shards}


def _shards(samples: Iterable[Sample], shard_bytes: int) -> Iterator[list[Sample]]:
    shard: list[Sample] = []
    num_bytes = 0
    for row, clip in samples:
        if shard and num_bytes + clip.num_bytes > shard_bytes:
            yield shard
            shard, num_bytes = [], 0
        shard.append((row, clip))
        num_bytes += clip.num_bytes
    if shard:
        yield shard


def _write_tar(run: Run, samples: list[Sample], file: Path) -> None:
    read = partial(_content, run)
    with storage_errors(file), file.open("wb") as stream, TarWriter(stream, mtime=0) as tar:
        for (row, clip), mp4 in zip(samples, in_order(read, samples), strict=True):
            told = describe_sample(run, row, clip)
            told["request"] = json.loads(told["request"])
            caption = (told["enhanced_prompt"] or told["prompt"]).encode()
            tar.write({"__key__": _key(row), "mp4": mp4, "txt": caption, "json": json.dumps(told).encode()})


def _content(run: Run, sample: Sample) -> bytes:
    return read_clip(run, *sample)


def _key(row: RunRow) -> str:
    return f"{row.number:08d}-{re.sub(r'[^A-Za-z0-9_-]+', '_', row.line['id'])[:MAX_ID_CHARACTERS]}"
