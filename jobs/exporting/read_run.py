"""A run's folder to its rows, as the manifest tells them; of a run that has not ended, to what is made so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from fv_ray.artifact_store import MEDIA_TYPES, RECORD_FILE, Artifact, ArtifactStore
from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import explain
from fv_ray.errors import StorageError
from fv_ray.sidecar import Sidecar
from jobs.generation.ask_store import PATIENCE_S, ask
from jobs.generation.begin_run import RUN_FILE, SUCCESS_FILE, RunNote, look_at
from jobs.generation.check_rows import Row
from jobs.generation.find_ends import End
from jobs.generation.write_manifest import manifest_line

_REMOTE = ("s3://", "gs://", "memory://")


@dataclass(frozen=True)
class RunRow:
    """A row of a run."""

    line: Mapping[str, Any]
    """Of the manifest: see `jobs.generation.write_manifest.MANIFEST`."""
    clip: Artifact | None
    """The video, or the preview where those are what was asked for; None: the row was not made."""
    thumbnail: str | None
    """Path in the run's folder."""
    reason: str = ""
    """Why it was not made."""

    @property
    def number(self) -> int:
        """Its position in the input, from 0."""
        number: int = self.line["row_number"]
        return number

    @property
    def is_repeated(self) -> bool:
        """An earlier row asks for the same, and has the same files."""
        return self.line["same_as_row"] is not None


@dataclass(frozen=True)
class Run:
    """A run whose rows can be read."""

    blobs: Blobs
    note: RunNote
    num_rows: int
    num_made: int
    sha256: str
    """Of what the rows are: another one, other rows."""
    parts: Mapping[str, str] | None
    """Digest of each table of a finished run by its path."""
    work_keys: Sequence[str] = ()
    """Of an unfinished run: what is made."""

    def rows(self) -> Iterator[RunRow]:
        """All of them, in the order of the input; of an unfinished run those that are made, in the order of their keys.

        Raises:
            StorageError: a table or a record is damaged.
        """
        return self._unfinished_rows() if self.parts is None else self._finished_rows(self.parts)

    def _finished_rows(self, parts: Mapping[str, str]) -> Iterator[RunRow]:
        reasons = {
            line["row_number"]: line["message"]
            for path in parts
            if path.startswith("errors/")
            for line in _lines(self.blobs, path, parts[path])
        }
        for path in sorted(parts):
            if path.startswith("manifest/"):
                for line in _lines(self.blobs, path, parts[path]):
                    yield _row(line, self.kind, reasons.get(line["row_number"], ""))

    def _unfinished_rows(self) -> Iterator[RunRow]:
        store = ArtifactStore(self.blobs, PATIENCE_S)
        for number, key in enumerate(self.work_keys):
            record = ask(store.find, key)
            sidecar = record.artifacts.get(f"{self.kind}.json") if record else None
            if record is None or sidecar is None:
                continue  # removed meanwhile, or of the other stage
            told = _sidecar(ask(store.read, sidecar), sidecar.path)
            row = Row(number=number, place="", id=key[:16], request=told.request, key=key)
            preview, video = (record, None) if self.kind == "preview" else (None, record)
            end, digest = End(preview, video, is_made=True), self.note.settings.checkpoint_digest
            yield _row(manifest_line(row, end, None, told.fps, digest), self.kind, "")

    @property
    def kind(self) -> str:
        """preview or video."""
        return self.note.settings.asking.makes.removesuffix("s")


def read_run(url: str, *, unfinished: bool = False) -> Run:
    """Open a run.

    Args:
        url: of its folder.
        unfinished: take one that has not ended.

    Raises:
        InputError: the URL is not allowed.
        StorageError: there is no run, or it has not ended.
    """
    if not url.startswith(_REMOTE) and not Path(url.removeprefix("file://")).expanduser().is_dir():
        raise StorageError(f"there is no folder {url}; a run of jobs.generate is allowed: give its --output")
    blobs = open_blobs(url)
    note, success = look_at(blobs).note, ask(blobs.read, SUCCESS_FILE)
    if note is None:
        raise StorageError(f"{blobs} has no {RUN_FILE}; a run of jobs.generate is allowed: give its --output")
    if success is not None:
        told = json.loads(success)
        sha256 = hashlib.sha256(json.dumps(told["parts"], sort_keys=True).encode()).hexdigest()
        return Run(blobs, note, told["num_rows"], told["num_made"], sha256, told["parts"])
    if not unfinished:
        told = f"{blobs} has no {SUCCESS_FILE}"
        raise StorageError(
            f"{told}; a finished run is allowed: finish it, or give --unfinished for what is made so far"
        )
    keys = _work_keys(blobs, note)
    sha256 = hashlib.sha256("\n".join(keys).encode()).hexdigest()
    return Run(blobs, note, len(keys), len(keys), sha256, None, keys)


def _work_keys(blobs: Blobs, note: RunNote) -> list[str]:
    """Of everything made that was asked for, in a fixed order."""
    kind = note.settings.asking.makes.removesuffix("s")
    made: dict[str, set[str]] = {}
    for path in map(PurePosixPath, ask(blobs.files, "w")):
        made.setdefault(path.parent.name, set()).add(path.name)
    return sorted(
        key
        for key, names in made.items()
        if RECORD_FILE in names and any(name.startswith(f"{kind}-") and name.endswith(".mp4") for name in names)
    )


def _sidecar(content: bytes, path: str) -> Sidecar:
    try:
        return Sidecar.model_validate_json(content)
    except ValidationError as error:
        told = f"{path} is not understood ({explain(error)})"
        raise StorageError(
            f"{told}; one of this version of fv-ray is allowed: finish the run, then export it"
        ) from error


def _lines(blobs: Blobs, path: str, sha256: str) -> Iterator[dict[str, Any]]:
    content = ask(blobs.read, path)
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        told = f"{blobs}/{path} is missing or not what {SUCCESS_FILE} says"
        raise StorageError(f"{told}; its digest must be {sha256}: remove {SUCCESS_FILE} and run jobs.generate again")
    for batch in pq.ParquetFile(BytesIO(content)).iter_batches(1_000):
        yield from batch.to_pylist()


def _row(line: Mapping[str, Any], kind: str, reason: str) -> RunRow:
    clip = None
    if line["status"] == "made":
        fields = {name: line[f"{kind}_{name}"] for name in ("path", "sha256", "num_bytes")}
        try:
            clip = Artifact(**fields, media_type=MEDIA_TYPES[".mp4"])
        except ValidationError as error:
            told = f"row {line['row_number']} of the manifest has no {kind} ({explain(error)})"
            raise StorageError(f"{told}; a made row must have one: run jobs.generate again") from error
    return RunRow(line, clip, line.get(f"{kind}_thumbnail_path"), reason)
