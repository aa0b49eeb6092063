"""A run's clips to the folder of videos that Hugging Face datasets reads, with a card.

    OUTPUT/README.md           the card
           metadata.parquet    a line a clip; file_name names it
           videos/000/00000000.mp4 ...

Files are named by their rows' numbers alone: datasets makes a split of each file whose name has the word "test" in it,
and leaves out all others. The table is Parquet, since datasets reads times into JSON's strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData

from fv_ray.artifact_store import Artifact
from fv_ray.blobs import Blobs
from fv_ray.storage import storage_errors
from jobs.exporting.copy_clips import exported_rows, in_order, read_clip
from jobs.exporting.describe_sample import SAMPLE, describe_sample
from jobs.exporting.read_run import Run, RunRow
from jobs.generation.ask_store import ask

CARD_FILE, METADATA_FILE = "README.md", "metadata.parquet"
CLIPS_PER_FOLDER = 1_000
"""The hub wants fewer than 10,000."""
_METADATA = pa.schema([pa.field("file_name", pa.string(), nullable=False), *SAMPLE])
_CARD = """---
{data}
---

# {kind}s by {name}

{num_clips} {kind}s, made by fv-ray {version} with the checkpoint {name} (digest `{digest}`).

```python
from datasets import load_dataset

dataset = load_dataset("videofolder", data_dir="THIS_FOLDER", split="train")
```

Each line has the prompt, the seed, the size, all parameters of both stages (`request`, JSON), and the mp4's SHA-256.
"""


def write_video_folder(run: Run, output: Blobs, folder: Path, *, repeats: bool) -> dict[str, int]:
    """Write the clips that are not there yet, each whole, then the table and the card; how many clips there are then.

    Args:
        run: whose clips.
        output: place of the folder.
        folder: for temporary files.
        repeats: rows too that ask for what an earlier one asks for.

    Raises:
        ArtifactDamaged: a clip is not what was made; there is no table then.
        StorageError: a place cannot be read or written.
    """
    copy = partial(_copy, run, output, set(ask(output.files, "videos")), folder)
    lines = in_order(copy, exported_rows(run, repeats=repeats))
    table, num_clips = folder / METADATA_FILE, 0
    with storage_errors(table), pq.ParquetWriter(table, _METADATA, compression="zstd") as writer:
        for batch in _batches(lines):
            writer.write_table(pa.Table.from_pylist(batch, _METADATA))
            num_clips += len(batch)
    ask(output.put, METADATA_FILE, table)
    card = folder / CARD_FILE
    card.write_text(_card(run, num_clips), "utf-8")
    ask(output.put, CARD_FILE, card)
    return {"num_clips": num_clips}


def _copy(run: Run, output: Blobs, done: set[str], folder: Path, sample: tuple[RunRow, Artifact]) -> dict[str, Any]:
    """The clip's line."""
    row, clip = sample
    name = f"videos/{row.number // CLIPS_PER_FOLDER:03d}/{row.number:08d}.mp4"
    if name not in done:
        with NamedTemporaryFile(dir=folder) as file:
            file.write(read_clip(run, row, clip))
            file.flush()
            ask(output.put, name, Path(file.name))
    return {"file_name": name, **describe_sample(run, row, clip)}


def _batches(lines: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(lines, 1_000)):
        yield batch


def _card(run: Run, num_clips: int) -> str:
    settings = run.note.settings
    split = {"split": "train", "path": ["videos/**", METADATA_FILE]}
    data = DatasetCardData(
        pretty_name=f"{run.kind}s by {settings.checkpoint_name}",
        task_categories=["text-to-video"],
        tags=["fv-ray", "synthetic"],
        configs=[{"config_name": "default", "data_files": [split]}],
    )
    return _CARD.format(
        data=data.to_yaml(),
        kind=run.kind,
        name=settings.checkpoint_name,
        digest=settings.checkpoint_digest,
        version=run.note.fv_ray_version,
        num_clips=num_clips,
    )
