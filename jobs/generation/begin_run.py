"""A run's folder: what was asked for is written first and never changed; the same goes on, another is refused.

ROOT/run.json             all that decides the results, and what rows there are
     dtype.json           of the weights, where the command leaves it open: by the device of the first launch
     versions/0002.json   more rows (--extend), another try of failed ones (--retry-errors), or damaged files made
                          again (--check-files): one a manifest
     attempts/...         one for each launch, for whoever wants to know
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from pydantic import AwareDatetime, ValidationError

from fv_ray import __version__
from fv_ray.blobs import Blobs
from fv_ray.checkpoint import explain
from fv_ray.errors import StorageError
from fv_ray.types import Value
from fv_ray.work_key import NUMERICS_VERSION, SCHEMA
from jobs.generation.ask_store import ask
from jobs.generation.check_rows import Asking
from jobs.generation.keep_rows import KeptRows
from jobs.run_folder import differences

RUN_FILE = "run.json"
DTYPE_FILE = "dtype.json"
SUCCESS_FILE = "_SUCCESS.json"
Reason = Literal["extend", "retry-errors", "check-files"]
SEED_RULE = "the first 63 bits of SHA-256 over fv-ray/row/SEED/ID"


class Input(Value):
    """The rows of a version."""

    num_rows: int
    rows_sha256: str
    """Of ids and keys, in order, before prompts are enhanced."""


class Settings(Value):
    """All that decides what a row becomes."""

    asking: Asking
    checkpoint_name: str
    checkpoint_digest: str
    dtype: str | None
    """None: as `settle_dtype` has it."""
    attention_backend: str
    from_previews: str | None
    """URL of the run whose previews are committed."""
    enhancer: dict[str, Any] | None = None
    """Who rewrites prompts, as `jobs.enhance_rows` tells it; None: they are taken as they are."""
    work_schema: str = SCHEMA
    numerics_version: int = NUMERICS_VERSION
    seed_rule: str = SEED_RULE


class RunNote(Value):
    """run.json."""

    layout_version: Literal[1] = 1
    run_id: str
    created_at: AwareDatetime
    fv_ray_version: str
    source: str
    """The input's URL, as it was given first."""
    settings: Settings
    input: Input


class VersionNote(Value):
    """versions/NNNN.json: what a later manifest has that the one before had not."""

    version: int
    reason: Reason
    created_at: AwareDatetime
    input: Input


class Begun(Value):
    """Where a run's folder stands."""

    note: RunNote | None
    input: Input | None
    """Of the last version; None where nothing was begun."""
    version: int


def look_at(blobs: Blobs) -> Begun:
    """What was begun in a folder.

    Raises:
        StorageError: it is not understood.
    """
    content = ask(blobs.read, RUN_FILE)
    if content is None:
        return Begun(note=None, input=None, version=1)
    try:
        note = RunNote.model_validate_json(content)
        names = sorted(path for path in ask(blobs.files, "versions") if path.endswith(".json"))
        last = VersionNote.model_validate_json(ask(blobs.read, names[-1]) or b"") if names else None
    except ValidationError as error:
        told = f"{blobs}/{RUN_FILE} or a version of it is not understood ({explain(error)})"
        raise StorageError(f"{told}; a run of this version of fv-ray is allowed: give a new folder") from error
    return Begun(note=note, input=last.input if last else note.input, version=last.version if last else 1)


def begin_run(blobs: Blobs, source: str, settings: Settings, rows: KeptRows, *, extends: bool) -> int:
    """Write down what is wanted, or see that the same was begun; the version of the manifest that is to be.

    `rows` must know the digest at the number of rows that was begun with.

    Raises:
        StorageError: something else was begun here: each difference is named.
    """
    wanted = Input(num_rows=rows.num_rows, rows_sha256=rows.sha256)
    begun = _look_at_ours(blobs)
    if begun.note is None:
        note = RunNote(
            run_id=uuid4().hex,
            created_at=datetime.now(UTC),
            fv_ray_version=__version__,
            source=source,
            settings=settings,
            input=wanted,
        )
        if ask(blobs.create, RUN_FILE, note.model_dump_json(indent=2).encode()):
            return 1
        begun = look_at(blobs)
    _refuse_others(blobs, begun, settings)
    if begun.input == wanted:
        return begun.version
    _refuse_other_rows(blobs, begun.input, rows, extends=extends)
    return add_version(blobs, begun.version, "extend", wanted)


def add_version(blobs: Blobs, version: int, reason: Reason, rows: Input) -> int:
    """Say that there is more to do than the last manifest had; what was finished is so no more.

    Raises:
        StorageError: another launch has added that version meanwhile, of other rows.
    """
    note = VersionNote(version=version + 1, reason=reason, created_at=datetime.now(UTC), input=rows)
    path = f"versions/{note.version:04d}.json"
    if not ask(blobs.create, path, note.model_dump_json(indent=2).encode()):
        first = VersionNote.model_validate_json(ask(blobs.read, path) or b"").input
        if first != rows:
            told = f"{blobs}/{path} was written by another launch meanwhile, of {first.num_rows} rows"
            raise StorageError(f"{told} and not of these {rows.num_rows}; the first one counts: run it again")
    remove_earlier_success(blobs, note.version)
    return note.version


def remove_earlier_success(blobs: Blobs, version: int) -> None:
    """Take back what was said of the end of an earlier version."""
    content = ask(blobs.read, SUCCESS_FILE)
    if content is not None and json.loads(content)["manifest_version"] < version:
        ask(blobs.remove, SUCCESS_FILE)


def note_attempt(blobs: Blobs, launch: str, arguments: Collection[str]) -> None:
    """Say that a launch has begun."""
    told = {"launch": launch, "host": platform.node(), "python": sys.version.split()[0], "arguments": list(arguments)}
    ask(blobs.create, f"attempts/{launch}.json", _json(told))


def settle_dtype(blobs: Blobs, device: str) -> str:
    """Bfloat16 on a GPU, float32 on a CPU; later launches keep it on any device: rows of a run have one."""
    first = _json({"dtype": "float32" if device == "cpu" else "bfloat16"})
    ask(blobs.create, DTYPE_FILE, first)
    dtype: str = json.loads(ask(blobs.read, DTYPE_FILE) or first)["dtype"]
    return dtype


def _json(told: object) -> bytes:
    return (json.dumps(told, indent=2) + "\n").encode()


def _look_at_ours(blobs: Blobs) -> Begun:
    """As `look_at`; a folder with files of something else is refused."""
    begun = look_at(blobs)
    if begun.note is None and (others := [path for path in ask(blobs.files, "") if not _is_beginning(path)]):
        begun = look_at(blobs)  # they may be of a launch that has begun since
        if begun.note is None:
            told = f"{blobs} holds {others[0]} and no {RUN_FILE}"
            raise StorageError(f"{told}; a new folder or one of this job is allowed: give another output")
    return begun


def _is_beginning(path: str) -> bool:
    """Whether a file may be of another launch that begins just now."""
    return path == RUN_FILE or path.startswith("probe/") or path.rpartition("/")[2].startswith(".")


def _refuse_others(blobs: Blobs, begun: Begun, settings: Settings) -> None:
    if begun.note is None:
        raise StorageError(f"{blobs}/{RUN_FILE} was deleted while it was written; a run has one folder: run it again")
    changed = differences(begun.note.settings.model_dump(mode="json"), settings.model_dump(mode="json"))
    if changed:
        raise StorageError(f"{blobs} was begun otherwise: {'; '.join(changed)}; give the same values or a new folder")


def _refuse_other_rows(blobs: Blobs, begun: Input | None, rows: KeptRows, *, extends: bool) -> None:
    if begun is None or (extends and rows.sha256_at.get(begun.num_rows) == begun.rows_sha256):
        return
    num_rows = begun.num_rows
    if extends:
        told = f"{blobs} was begun with {num_rows} rows, which are not the first {num_rows} of this input"
        raise StorageError(f"{told}; with --extend rows may be added behind them: keep those, or give a new folder")
    told = f"{blobs} was begun with {num_rows} rows of digest {begun.rows_sha256[:12]}, this input has {rows.num_rows}"
    raise StorageError(
        f"{told} of {rows.sha256[:12]}; the same rows are allowed: give --extend for more, or a new folder"
    )
