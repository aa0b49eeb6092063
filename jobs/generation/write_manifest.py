"""All rows with their ends to Parquet: a line an input row, in its order; the same bytes for the same rows and results.

    ROOT/manifest/v0001/part-00000-SHA.parquet   every row
         errors/v0001/part-00000-SHA.parquet     those that were not made, with the reason
         _SUCCESS.json                           names the version and every part with its digest; written last

Parts have names of their content: of two launches that end at once neither writes over what the other one names.
Nothing in the manifest differs between two runs of one input: times are in the records, a launch's in report.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fv_ray.artifact_store import StageRecord
from fv_ray.blobs import Blobs
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.preview_folder import PREVIEW_FILE
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import VideoRequest
from jobs.generation.ask_store import ask
from jobs.generation.begin_run import SUCCESS_FILE, remove_earlier_success
from jobs.generation.check_rows import Row
from jobs.generation.find_ends import End

LAYOUT_VERSION = "1"
"""Of the columns. They are only added, and may then be empty: readers pass over those that they do not know."""
ROWS_PER_PART = 10_000
_FILES = {
    "video": "video.mp4",
    "video_thumbnail": "video.webp",
    "video_sheet": "video_sheet.webp",
    "preview": "preview.mp4",
    "preview_thumbnail": "preview.webp",
    "preview_sheet": "preview_sheet.webp",
    "latents": PREVIEW_FILE,
}
"""What a row's columns tell of, by the name in the record."""
_TOLD_WHOLE = ("video", "preview", "latents")
_OWN_COLUMNS = {"prompt", "enhanced_prompt"}

MANIFEST = pa.schema(
    [
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_code", pa.string()),
        pa.field("same_as_row", pa.int64()),
        pa.field("prompt", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("stage_two_seed", pa.int64()),
        pa.field("num_frames", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("fps", pa.int32()),
        pa.field("request", pa.string()),
        pa.field("key", pa.string()),
        pa.field("preview_work_key", pa.string()),
        pa.field("video_work_key", pa.string()),
        *(pa.field(f"{name}_path", pa.string()) for name in _FILES),
        *(pa.field(f"{name}_sha256", pa.string()) for name in _TOLD_WHOLE),
        *(pa.field(f"{name}_num_bytes", pa.int64()) for name in _TOLD_WHOLE),
        pa.field("enhanced_prompt", pa.string()),
        pa.field("enhancement", pa.string()),
        pa.field("checkpoint_digest", pa.string()),
    ],
    {"fv_ray_layout": LAYOUT_VERSION},
)
ERRORS = pa.schema(
    [
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("retryable", pa.bool_()),
    ],
    {"fv_ray_layout": LAYOUT_VERSION},
)


@dataclass
class Written:
    """What a manifest says, in numbers."""

    num_rows: int = 0
    num_made: int = 0
    num_errors: int = 0
    num_repeated: int = 0
    """Made rows that ask for what an earlier one asks for."""
    num_not_ended: int = 0
    """Neither made nor given up: a manifest with such rows is not stored."""
    useful_s: dict[str, float] = field(default_factory=dict)
    """Of the device, by stage and device: `stage_one/cpu`; of each work once."""
    parts: dict[str, str] = field(default_factory=dict)
    """Digest by path."""


def write_manifest(
    blobs: Blobs,
    ended: Iterable[tuple[Row, End]],
    version: int,
    checkpoint: CheckpointInfo,
    folder: Path,
    *,
    has_own_previews: bool = True,
) -> Written:
    """Store all parts, unless a row has not ended; a killed call is just repeated.

    Args:
        blobs: the run's folder.
        ended: every row with its end, in order.
        version: of the manifest.
        checkpoint: that has made them.
        folder: for temporary files.
        has_own_previews: else their seconds are an earlier run's.
    """
    written, works = Written(), set[bytes]()
    rows = _Parts(f"manifest/v{version:04d}", MANIFEST, folder)
    errors = _Parts(f"errors/v{version:04d}", ERRORS, folder)
    first: dict[bytes, int] = {}
    for row, end in ended:
        same_as = first.setdefault(bytes.fromhex(row.key), row.number) if row.key else row.number
        _count(written, row, end, is_repeated=same_as != row.number)
        _add_seconds(written, works, (end.preview if has_own_previews else None, end.video))
        same_as_row = None if same_as == row.number else same_as
        rows.add(manifest_line(row, end, same_as_row, checkpoint.fps, checkpoint.digest))
        if (line := _error_line(row, end)) is not None:
            errors.add(line)
    files = rows.finish() | errors.finish()
    if not written.num_not_ended:
        for path, (file, digest) in files.items():
            ask(blobs.put, path, file)
            written.parts[path] = digest
    return written


def write_success(blobs: Blobs, version: int, written: Written) -> None:
    """Say that all is there; of two launches the first one's word stands, and of two versions the later one's.

    What an earlier version has said goes first: who added this one may have been killed before that. Parts that the
    word does not name go last: they are of launches that came second, or were killed.
    """
    remove_earlier_success(blobs, version)
    told = {
        "layout_version": int(LAYOUT_VERSION),
        "manifest_version": version,
        "num_rows": written.num_rows,
        "num_made": written.num_made,
        "num_errors": written.num_errors,
        "parts": dict(sorted(written.parts.items())),
    }
    ask(blobs.create, SUCCESS_FILE, (json.dumps(told, indent=2) + "\n").encode())
    stands = json.loads(ask(blobs.read, SUCCESS_FILE) or b"{}")
    if stands.get("manifest_version") == version:
        for table in ("manifest", "errors"):
            for path in {*ask(blobs.files, f"{table}/v{version:04d}")} - stands["parts"].keys():
                if "/." not in path:  # else it is hidden, and another launch is writing it
                    ask(blobs.remove, path)


class _Parts:
    """Lines to parts in a folder on this machine, of which one is in memory."""

    def __init__(self, place: str, schema: pa.Schema, folder: Path) -> None:
        """Place: of the table, in the run's folder."""
        self._place, self._schema, self._folder = place, schema, folder
        self._lines: list[dict[str, Any]] = []
        self._files: dict[str, tuple[Path, str]] = {}

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        if len(self._lines) == ROWS_PER_PART:
            self._flush()

    def finish(self) -> dict[str, tuple[Path, str]]:
        """File and digest of each part by its path; there is one at least, so that a reader finds the columns."""
        if self._lines or not self._files:
            self._flush()
        return self._files

    def _flush(self) -> None:
        name = f"part-{len(self._files):05d}"
        file = self._folder / f"{self._place.replace('/', '-')}-{name}.parquet"
        pq.write_table(pa.Table.from_pylist(self._lines, self._schema), file, compression="zstd")
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self._files[f"{self._place}/{name}-{digest[:12]}.parquet"] = (file, digest)
        self._lines = []


def _count(written: Written, row: Row, end: End, *, is_repeated: bool) -> None:
    written.num_rows += 1
    written.num_repeated += is_repeated and end.is_made
    written.num_made += end.is_made
    written.num_errors += not end.is_made
    written.num_not_ended += not end.is_made and end.error is None and row.problem is None


def _add_seconds(written: Written, works: set[bytes], records: Iterable[StageRecord | None]) -> None:
    """Add those of works that are not in `works`, and put them there."""
    for record in records:
        if record is not None and (work := bytes.fromhex(record.work_key)) not in works:
            works.add(work)
            name = f"{record.stage}/{record.device}"
            written.useful_s[name] = written.useful_s.get(name, 0.0) + record.device_seconds


def manifest_line(row: Row, end: End, same_as: int | None, fps: int, checkpoint_digest: str) -> dict[str, Any]:
    """What `MANIFEST` says of a row."""
    code = end.error.code if end.error else row.problem.code if row.problem else None
    line: dict[str, Any] = {
        "row_number": row.number,
        "id": row.id,
        "status": "made" if end.is_made else "error",
        "error_code": None if end.is_made else code,
        "same_as_row": same_as,
    }
    if row.request is not None:
        line |= _request_columns(row, row.request, fps, is_preview=end.video is None)
        line["checkpoint_digest"] = checkpoint_digest
    for record in (end.preview, end.video):
        if record is not None:
            line |= _record_columns(record)
    return line


def read_enhancement(line: Mapping[str, Any]) -> Enhanced | None:
    """What a line says of how its prompt was enhanced; None where it was not."""
    if line.get("enhancement") is None:
        return None
    told = {name: line[name] for name in _OWN_COLUMNS}
    return Enhanced.model_validate({**json.loads(line["enhancement"]), **told})


def _request_columns(row: Row, request: VideoRequest, fps: int, *, is_preview: bool) -> dict[str, Any]:
    sampling = request.stage_one if is_preview else request.stage_two
    told = row.enhancement
    return {
        "prompt": told.prompt if told else request.prompt,
        "enhanced_prompt": told.enhanced_prompt if told else None,
        "enhancement": told.model_dump_json(exclude=_OWN_COLUMNS) if told else None,
        "seed": request.seed,
        "stage_two_seed": request.stage_two_seed,
        "num_frames": request.stage_one.num_frames,
        "height": sampling.height,
        "width": sampling.width,
        "fps": fps,
        "request": request.model_dump_json(),
        "key": row.key,
    }


def _record_columns(record: StageRecord) -> dict[str, Any]:
    kind = "preview" if record.stage == "stage_one" else "video"
    line: dict[str, Any] = {f"{kind}_work_key": record.work_key}
    for name, file in _FILES.items():
        if (artifact := record.artifacts.get(file)) is not None:
            line[f"{name}_path"] = artifact.path
            if name in _TOLD_WHOLE:
                line |= {f"{name}_sha256": artifact.sha256, f"{name}_num_bytes": artifact.num_bytes}
    return line


def _error_line(row: Row, end: End) -> dict[str, Any] | None:
    line = {"row_number": row.number, "id": row.id, "place": row.place, "key": row.key or None}
    if row.problem is not None:
        told = {"stage": "input", "code": row.problem.code, "message": row.problem.message}
        return line | told | {"attempts": 0, "retryable": False}
    if (error := end.error) is None:
        return None
    told = {"stage": error.stage, "code": error.code, "message": error.message}
    return line | told | {"attempts": error.attempts, "retryable": error.is_retryable}
