"""Results of the stages in one place: files under names of their content, and one record that commits them.

    ROOT/w/KK/WORK_KEY/NAME-SHA12.SUFFIX    what a stage made; without a record it does not count
                       record.json          put only where none is: the first one wins and never changes
         probe/                             empty, but while a store is tried

A stage that is asked for the same work again finds the record and runs nothing. Readers check each file's digest.
No part of a path is what a person wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, groupby
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from uuid import uuid4

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import explain
from fv_ray.errors import ArtifactDamaged, InputError, StorageError, StoreUnavailable
from fv_ray.types import Value

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]*(/[a-zA-Z0-9_-][a-zA-Z0-9._-]*)*$")
]
"""Of plain names, none of which begins with a dot: it cannot leave its root."""
Stage = Literal["stage_one", "stage_two"]

RECORD_FILE = "record.json"
MEDIA_TYPES = {".json": "application/json", ".mp4": "video/mp4", ".webp": "image/webp"}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9]+)+")
_CONTENT_NAME = re.compile(r"-[0-9a-f]{12}(?=\.)")


class Artifact(Value):
    """One stored file."""

    path: RelativePath
    """Relative to the store's root."""
    sha256: Digest
    num_bytes: Annotated[int, Field(ge=0)]
    media_type: str
    """video/mp4, image/webp, application/json ..."""


class StageRecord(Value):
    """What one run of a stage left: the commit point of its work."""

    format_version: Literal[1] = 1
    work_key: Digest
    stage: Stage
    artifacts: dict[str, Artifact]
    """By the name of the file as a result folder has it: preview.mp4, preview.safetensors, video_sheet.webp ..."""
    device_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """What the stage took on its device."""
    device: str
    created_at: AwareDatetime


class ArtifactStore:
    """A place in which writing twice is harmless. Threads may share one. Every method may raise StorageError."""

    def __init__(self, blobs: Blobs, patience_s: float) -> None:
        self._blobs, self._patience_s = blobs, patience_s

    @classmethod
    def open(cls, url: str, *, patience_s: float = 60) -> Self:
        """Open a store and see that it can commit: of two writers of one record the second must fail.

        Args:
            url: a local folder, or file://, s3://, gs://, memory://; no other protocol and no chain of them.
                Credentials, region and endpoint come from the environment, as botocore and gcsfs read it.
            patience_s: how long `commit` goes on trying where an object store does not answer, beyond the retries
                of its library: a result in hand has cost more than the wait.

        Raises:
            InputError: the URL is not allowed.
            StorageError: the place cannot be written, or cannot tell the first of two writers.
        """
        store = cls(open_blobs(url), patience_s)
        store.check()
        return store

    def find(self, work_key: str) -> StageRecord | None:
        """The record of that work, where it is done. One that is not understood is ArtifactDamaged."""
        content = self._blobs.read(f"{_folder(work_key)}/{RECORD_FILE}")
        return None if content is None else self._parse(content, work_key)

    def find_whole(self, work_key: str) -> StageRecord | None:
        """As `find`, every file read. A record that is damaged, or has a damaged file, is removed."""
        path = f"{_folder(work_key)}/{RECORD_FILE}"
        content = self._blobs.read(path)
        try:
            record = None if content is None else self._parse(content, work_key)
            for artifact in record.artifacts.values() if record else ():
                self.read(artifact)
        except ArtifactDamaged:
            if self._blobs.read(path) == content:  # else somebody has done it again meanwhile
                self._blobs.remove(path)
            return None
        return record

    def commit(
        self, work_key: str, stage: Stage, files: Mapping[str, Path], *, device: str, device_seconds: float
    ) -> StageRecord:
        """Store a run's files and then its record, and give the record that counts: an earlier one where one is.

        `files` go by the names that they have in a result folder: small letters, digits and _, with a suffix.
        Blocks for up to the store's patience where an object store is down.

        Raises:
            StorageError: a file cannot be read or stored; no record is written.
        """
        folder = _folder(work_key)
        record = StageRecord(
            work_key=work_key,
            stage=stage,
            artifacts={name: _describe(folder, name, file) for name, file in files.items()},
            device_seconds=device_seconds,
            device=device,
            created_at=datetime.now(UTC),
        )
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=wait_random_exponential(multiplier=0.5, max=15),
            stop=stop_after_delay(self._patience_s),
            reraise=True,
        )
        return retrying(self._commit, record, files)

    def read(self, artifact: Artifact) -> bytes:
        """A whole file, its digest checked.

        Raises:
            ArtifactDamaged: it is missing or not what was stored.
            StorageError: the store cannot be read.
        """
        content = self._blobs.read(artifact.path)
        if content is None or hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise self._damaged(artifact, "is missing" if content is None else f"has other {len(content)} bytes")
        return content

    def read_range(self, artifact: Artifact, start: int, end: int, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """Bytes start to end (exclusive) in chunks, without a check of the digest.

        The first chunk is read at once, so that a file that is not there is an error of this call, not of the iterator.

        Raises:
            InputError: the file has no such bytes.
            ArtifactDamaged: it is missing or shorter than what was stored.
            StorageError: the store cannot be read.
        """
        if not 0 <= start < end <= artifact.num_bytes or chunk_bytes < 1:
            raise InputError(
                f"bytes {start} to {end} of {artifact.path} in chunks of {chunk_bytes} cannot be read; "
                f"it has {artifact.num_bytes}: ask for some of them"
            )
        starts = range(start, end, chunk_bytes)
        chunks = (self._read_chunk(artifact, chunk, min(chunk + chunk_bytes, end)) for chunk in starts)
        return chain([next(chunks)], chunks)

    def sign(self, artifact: Artifact, expires_s: int, *, file_name: str) -> str | None:
        """A URL that gives the file to whoever has it, for a while; None where the store has no such thing.

        A browser stores it as `file_name`.

        Raises:
            InputError: the file name has more than letters, digits, -, _ and dots.
            StorageError: the store cannot sign.
        """
        if re.fullmatch(r"[\w-][\w.-]*", file_name, re.ASCII) is None:
            raise InputError(f"{file_name!r} is no file name; allowed are letters, digits, -, _ and dots: give another")
        return self._blobs.sign(artifact.path, expires_s, file_name=file_name, media_type=artifact.media_type)

    def delete(self, work_key: str) -> None:
        """Remove a work's record, then its files; nothing where there are none. What has failed, call again."""
        folder = _folder(work_key)
        self._blobs.remove(f"{folder}/{RECORD_FILE}")
        for path in self._blobs.files(folder):
            self._blobs.remove(path)

    def orphans(self, older_than: datetime) -> Iterator[str]:
        """Paths of files that no record names and that were written before a time: `sweep` removes them.

        Lists the whole store, and reads a record only where two files have one name.
        """
        for group in (*self._blobs.folders("w"), "probe"):
            for folder, paths in groupby(sorted(self._blobs.files(group)), key=lambda path: path.rpartition("/")[0]):
                for path in self._without_record(folder, list(paths)):
                    if (modified := self._blobs.modified(path)) and modified < older_than:
                        yield path

    def sweep(self, older_than: datetime) -> int:
        """Remove the orphans, of longer ago than any commit takes, such as a day; give how many."""
        num_removed = 0
        for path in self.orphans(older_than):
            self._blobs.remove(path)
            num_removed += 1
        return num_removed

    def check(self) -> None:
        """See that the store answers, takes a file, and keeps it from a second writer, for a readiness probe.

        Raises:
            StorageError: it does not.
        """
        path = f"probe/{uuid4().hex}/probe"
        try:
            self._blobs.create(path, b"first")  # what it says does not matter: an answer may be lost
            is_replaced = self._blobs.create(path, b"second")
            content = self._blobs.read(path)
        finally:
            self._blobs.remove(path)
        if is_replaced or content != b"first":
            raise StorageError(
                f"{self._blobs} let a second writer take the first one's name; allowed are a local disk, GCS, and an "
                "S3 that knows If-None-Match: set another storage URL"
            )

    def _commit(self, record: StageRecord, files: Mapping[str, Path]) -> StageRecord:
        if earlier := self.find(record.work_key):
            return earlier
        # Even what is there: it is new to `orphans` then.
        self._blobs.put_all({artifact.path: files[name] for name, artifact in record.artifacts.items()})
        path = f"{_folder(record.work_key)}/{RECORD_FILE}"
        if self._blobs.create(path, record.model_dump_json().encode()):
            return record
        if winner := self.find(record.work_key):
            return winner
        raise StorageError(f"{self._blobs}/{path} was deleted while it was written; a work has one user: run it again")

    def _parse(self, content: bytes, work_key: str) -> StageRecord:
        told = f"{self._blobs}/{_folder(work_key)}/{RECORD_FILE} is not understood"
        try:
            record = StageRecord.model_validate_json(content)
        except ValidationError as error:
            raise ArtifactDamaged(f"{told} ({explain(error)}); delete the work and run it again") from error
        paths = [file.path for file in record.artifacts.values()]
        if record.work_key != work_key or not all(path.startswith(f"{_folder(work_key)}/") for path in paths):
            raise ArtifactDamaged(
                f"{told}: it is of {record.work_key} with {paths}, and only its own work with files in its folder is "
                "allowed; delete the work and run it again"
            )
        return record

    def _without_record(self, folder: str, paths: Sequence[str]) -> Sequence[str]:
        """Of the files in a folder, those that its record does not name."""
        record = f"{folder}/{RECORD_FILE}"
        if record not in paths:
            return paths
        names = [_CONTENT_NAME.sub("", PurePosixPath(path).name) for path in paths]
        if len(set(names)) == len(names) and not any(name.startswith(".") for name in names):
            return []  # one file of each name: nobody else was here
        content = self._blobs.read(record)
        try:
            known = self._parse(content or b"", PurePosixPath(folder).name).artifacts
        except StorageError:
            return []  # `find` tells it; a sweeper removes nothing that it does not understand
        return sorted({*paths} - {file.path for file in known.values()} - {record})

    def _read_chunk(self, artifact: Artifact, start: int, end: int) -> bytes:
        content = self._blobs.read(artifact.path, start, end)
        if content is None or len(content) != end - start:
            raise self._damaged(artifact, f"is missing or has no bytes {start} to {end}")
        return content

    def _damaged(self, artifact: Artifact, what: str) -> ArtifactDamaged:
        told = f"{self._blobs}/{artifact.path} {what}; {artifact.num_bytes} of digest {artifact.sha256} were stored"
        return ArtifactDamaged(f"{told}: run the stage again")


def _folder(work_key: str) -> str:
    if _DIGEST.fullmatch(work_key) is None:
        raise InputError(f"{work_key!r} is no work key; it has 64 digits of 0-9 and a-f: make it with fv_ray.work_key")
    return f"w/{work_key[:2]}/{work_key}"


def _describe(folder: str, name: str, file: Path) -> Artifact:
    if _FILE_NAME.fullmatch(name) is None:
        told = f"{name!r} is no name of a result; allowed are small letters, digits and _, with a suffix"
        raise InputError(f"{told}: give one like video_sheet.webp")
    try:
        with file.open("rb") as content:
            sha256, num_bytes = hashlib.file_digest(content, "sha256").hexdigest(), file.stat().st_size
    except OSError as error:
        raise StorageError(f"{file} cannot be read ({error}); it must be there: run the stage again") from error
    stem, _, suffix = name.partition(".")
    media_type = MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    path = f"{folder}/{stem}-{sha256[:12]}.{suffix}"
    return Artifact(path=path, sha256=sha256, num_bytes=num_bytes, media_type=media_type)
