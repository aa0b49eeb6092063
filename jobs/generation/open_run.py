"""What a command asks for to a run's folder that is begun, with every row of its input checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import typer

from fv_ray.artifact_store import ArtifactStore
from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import TEXT_ENCODER_FOLDER, CheckpointInfo
from fv_ray.errors import CheckpointError, InputError
from jobs.enhance_rows import Enhancer, require_enhancer
from jobs.generation.ask_store import PATIENCE_S, ask
from jobs.generation.begin_run import SUCCESS_FILE, Input, Settings, add_version, begin_run, look_at
from jobs.generation.check_rows import Asking, check_rows
from jobs.generation.choose_previews import choose_previews
from jobs.generation.enhance_kept_rows import enhance_kept_rows
from jobs.generation.find_ends import Ends
from jobs.generation.keep_rows import KeptRows, keep_rows
from jobs.generation.mark_rows import RowMarks
from jobs.generation.read_prompts import find_tables, read_prompts
from jobs.generation.type_fields import COLUMNS


@dataclass(frozen=True)
class Wanted:
    """What decides a run, and what may be done to one that was begun."""

    source: str
    """URL of the input; with `from_previews`, of the table that selects."""
    output: str
    """URL of the run's folder."""
    checkpoint: Path
    asking: Asking
    from_previews: str | None = None
    """URL of a run whose previews are committed."""
    dtype: str | None = None
    attention_backend: str = "native"
    ignored: frozenset[str] = frozenset()
    """Columns that are passed over."""
    is_strict: bool = False
    """A row with a problem ends the command."""
    extends: bool = False
    retries_errors: bool = False
    enhancer: Enhancer | None = None
    """Who rewrites prompts; None: they are taken as they are."""
    checks_files: bool = False
    """Every stored file is read, and what is damaged is made again."""


@dataclass(frozen=True)
class OpenRun:
    """A run that is begun."""

    wanted: Wanted
    checkpoint: CheckpointInfo
    blobs: Blobs
    store: ArtifactStore
    marks: RowMarks
    rows: KeptRows
    ends: Ends
    version: int
    """Of the manifest that is to be."""


def open_run(wanted: Wanted, folder: Path) -> OpenRun:
    """Check every row, and begin the run or see that the same was begun.

    Args:
        wanted: by the command.
        folder: for the checked rows.

    Raises:
        CheckpointError: the folder is no checkpoint, or cannot read prompts.
        EnhancerUnavailable: not all prompts are enhanced; those that are, are kept.
        InputError: there is no row, or with `is_strict` one that cannot be made.
        StorageError: the output cannot be written, or is of another run.
    """
    checkpoint = CheckpointInfo.read(wanted.checkpoint)
    _require_text_encoder(wanted.checkpoint)
    if wanted.enhancer is not None:
        require_enhancer(wanted.enhancer)
    blobs = open_blobs(wanted.output)
    store = ArtifactStore(blobs, PATIENCE_S)
    ask(store.check)
    rows = _checked_rows(wanted, checkpoint, blobs, folder)
    settings = Settings(
        asking=wanted.asking,
        checkpoint_name=checkpoint.name,
        checkpoint_digest=checkpoint.digest,
        dtype=wanted.dtype,
        attention_backend=wanted.attention_backend,
        from_previews=wanted.from_previews,
        enhancer=None if wanted.enhancer is None else wanted.enhancer.told(),
    )
    version = begin_run(blobs, wanted.source, settings, rows, extends=wanted.extends)
    if wanted.enhancer is not None:
        asked, enhanced = wanted.asking, folder / "enhanced.jsonl"
        rows = enhance_kept_rows(rows, wanted.enhancer, blobs, checkpoint.digest, asked, enhanced)
    marks = RowMarks(blobs)
    previews = store
    if wanted.from_previews is not None:
        previews = ArtifactStore(open_blobs(wanted.from_previews), PATIENCE_S)
    ends = Ends(store, previews, marks, wanted.asking.makes, checkpoint.digest, wanted.asking.salt)
    if wanted.checks_files:
        version = _forget_damaged(ends, rows, blobs, version)
    if wanted.retries_errors:
        version = _retry_errors(ends, rows, blobs, version)
    return OpenRun(wanted, checkpoint, blobs, store, marks, rows, ends, version)


def _checked_rows(wanted: Wanted, checkpoint: CheckpointInfo, blobs: Blobs, folder: Path) -> KeptRows:
    begun = look_at(blobs)
    marks = () if begun.input is None else (begun.input.num_rows,)
    if wanted.from_previews is None:
        raw = read_prompts(find_tables(wanted.source), COLUMNS)
        checked = check_rows(raw, wanted.asking, checkpoint, wanted.ignored)
    else:
        checked = choose_previews(wanted.from_previews, wanted.source, wanted.asking, checkpoint, wanted.ignored)
    rows = keep_rows(checked, folder / "rows.jsonl", marks)
    if not rows.num_rows:
        raise InputError(f"{wanted.source} has no row; one at least must be there: mend the table")
    refused = rows.first_refused
    if refused and refused.problem:
        told = (
            f"{rows.num_refused} of {rows.num_rows} rows cannot be made, the first one {refused.place}: "
            f"{refused.problem.message}"
        )
        if wanted.is_strict:
            raise InputError(f"{told}; with --strict all must be: mend them")
        typer.echo(told, err=True)
    return rows


def _forget_damaged(ends: Ends, rows: KeptRows, blobs: Blobs, version: int) -> int:
    """Forget results with a damaged file; what was finished with some gets another manifest."""
    ended = replace(ends, reads_files=True).of(rows)
    num_lost = sum(row.request is not None and end.error is None and not end.is_made for row, end in ended)
    if not num_lost or ask(blobs.read, SUCCESS_FILE) is None:
        return version
    return add_version(blobs, version, "check-files", Input(num_rows=rows.num_rows, rows_sha256=rows.sha256))


def _retry_errors(ends: Ends, rows: KeptRows, blobs: Blobs, version: int) -> int:
    """Forget all errors of rows; what was finished with some gets another manifest."""
    failed, _ = ends.marks.read_all()
    if not failed:
        return version
    if ask(blobs.read, SUCCESS_FILE) is not None:
        version = add_version(blobs, version, "retry-errors", Input(num_rows=rows.num_rows, rows_sha256=rows.sha256))
    for row in rows:
        if row.key in failed and (error := ends.marks.error(row.key)) is not None:
            if error.code == "artifact_damaged" and ends.previews is ends.store:
                ask(ends.store.delete, row.preview_key)
            ends.marks.forget_error(row.key)
    return version


def _require_text_encoder(folder: Path) -> None:
    if not (folder / TEXT_ENCODER_FOLDER).is_dir():
        told = f"{folder} has no {TEXT_ENCODER_FOLDER}; prompts need one: convert it with --text-encoder"
        raise CheckpointError(told)
