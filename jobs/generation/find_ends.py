"""Rows to what has become of them, as the store tells: made, given up, or still to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from fv_ray.artifact_store import ArtifactStore, StageRecord
from fv_ray.works import video_key
from jobs.generation.ask_store import ask
from jobs.generation.check_rows import Makes, Row
from jobs.generation.mark_rows import RowError, RowMarks

NUM_THREADS = 32
_WINDOW = 1_024
"""Rows in memory."""


@dataclass(frozen=True)
class End:
    """What has become of a row; of none of its fields: it is still to do, or refused."""

    preview: StageRecord | None = None
    video: StageRecord | None = None
    error: RowError | None = None
    is_made: bool = False
    """All that was asked for is there."""


@dataclass(frozen=True)
class Ends:
    """Looks rows up in a run's folder."""

    store: ArtifactStore
    previews: ArtifactStore
    """Where previews are: in the same store, or in that of an earlier run."""
    marks: RowMarks
    makes: Makes
    checkpoint_digest: str
    salt: str
    reads_files: bool = False
    """What is damaged in `store` is forgotten, and so still to do."""

    def find(self, row: Row) -> End:
        """What has become of one."""
        if row.request is None:
            return End()
        preview = self._record(self.previews, row.preview_key)
        video = None
        if preview is not None and self.makes == "videos":
            key = video_key(row.request, preview, self.checkpoint_digest, salt=self.salt)
            video = self._record(self.store, key)
        if (preview if self.makes == "previews" else video) is not None:
            return End(preview, video, is_made=True)
        return End(preview, error=self.marks.error(row.key))

    def of(self, rows: Iterable[Row]) -> Iterator[tuple[Row, End]]:
        """What has become of each, in order, without holding them all."""
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for window in _windows(rows):
                yield from zip(window, pool.map(self.find, window), strict=True)

    def _record(self, store: ArtifactStore, key: str) -> StageRecord | None:
        reads = self.reads_files and store is self.store  # an earlier run's files are its own to mend
        return ask(store.find_whole if reads else store.find, key)


def _windows(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while window := list(islice(iterator, _WINDOW)):
        yield window
