"""A run's rows to those that are exported, and to their clips, each checked; several at a time, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from fv_ray.artifact_store import RECORD_FILE, Artifact, ArtifactStore
from fv_ray.errors import ArtifactDamaged
from jobs.exporting.read_run import Run, RunRow
from jobs.generation.ask_store import PATIENCE_S, ask
from jobs.generation.begin_run import SUCCESS_FILE

NUM_THREADS = 16
"""So many clips are in memory."""

T = TypeVar("T")
U = TypeVar("U")


def exported_rows(run: Run, *, repeats: bool) -> Iterator[tuple[RunRow, Artifact]]:
    """The rows that have a clip, with it.

    Args:
        run: whose rows.
        repeats: those too that ask for what an earlier one asks for.
    """
    return ((row, row.clip) for row in run.rows() if row.clip is not None and (repeats or not row.is_repeated))


def read_clip(run: Run, row: RunRow, clip: Artifact) -> bytes:
    """An mp4.

    Raises:
        ArtifactDamaged: it is missing or not what was made.
        StorageError: the run cannot be read.
    """
    try:
        return ask(ArtifactStore(run.blobs, PATIENCE_S).read, clip)
    except ArtifactDamaged as error:
        record = f"{clip.path.rpartition('/')[0]}/{RECORD_FILE}"
        told = f"row {row.number}, id {row.line['id']!r}: {error}"
        raise ArtifactDamaged(f"{told} (remove {record} and {SUCCESS_FILE}, and give its command again)") from error


def in_order(call: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """What a call that waits for a store gives for each item."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        iterator = iter(items)
        while window := list(islice(iterator, NUM_THREADS)):
            yield from pool.map(call, window)
