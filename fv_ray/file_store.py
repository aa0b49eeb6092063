"""Files that people gave or take away, in the same place as the stages' results: `f/II/ID-SHA12.jsonl`.

Whoever stores one keeps its `Artifact`; `ArtifactStore` reads it. A file that nobody has kept is an orphan.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Self

from fv_ray.artifact_store import Artifact
from fv_ray.blobs import Blobs, open_blobs
from fv_ray.errors import InputError
from fv_ray.storage import storage_errors

SUFFIX, MEDIA_TYPE = ".jsonl", "application/jsonl"
_FILE_ID = re.compile(r"[a-z0-9][a-z0-9_-]{1,80}")


class FileStore:
    """Files under names of their id and content. Threads may share one. Every method may raise StorageError."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the place that an `ArtifactStore` has opened.

        Raises:
            InputError: the URL is not allowed.
        """
        return cls(open_blobs(url))

    def put(self, file_id: str, source: Path) -> Artifact:
        """Store a file of JSON lines. Storing it again under its id changes nothing.

        Raises:
            InputError: the id has more than small letters, digits, - and _.
        """
        if _FILE_ID.fullmatch(file_id) is None:
            told = f"{file_id!r} is no file id; allowed are small letters, digits, - and _"
            raise InputError(f"{told}: give another")
        with storage_errors(source), source.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            num_bytes = source.stat().st_size
        path = f"f/{file_id[-2:]}/{file_id}-{sha256[:12]}{SUFFIX}"
        self._blobs.put(path, source)
        return Artifact(path=path, sha256=sha256, num_bytes=num_bytes, media_type=MEDIA_TYPE)

    def remove(self, path: str) -> None:
        """Remove a file; nothing where there is none."""
        self._blobs.remove(path)

    def older_than(self, time: datetime) -> Iterator[str]:
        """Paths of all files that were written before a time."""
        for path in sorted(self._blobs.files("f")):
            if (modified := self._blobs.modified(path)) and modified < time:
                yield path
