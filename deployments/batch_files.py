"""The files of a batch: its input to rows or faults, its rows to output and errors. No file is ever whole in memory."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from deployments.database.batch_records import (
    BatchRecord,
    CheckedRow,
    FileRecord,
    InputFault,
    InputRow,
    RowRefusal,
    Written,
)
from deployments.database.batch_steps import output_file_id, rows_behind
from deployments.database.records import DatabaseUnavailable
from deployments.http.batch_lines import new_video, output_line, parse_line
from deployments.http.errors import unexpected
from deployments.http.service import Service
from fv_ray.artifact_store import Artifact, ArtifactStore
from fv_ray.errors import ArtifactDamaged

MAX_FAULTS = 100
"""That are told of one file."""
ROWS_AT_ONCE = 500

logger = logging.getLogger(f"ray.serve.{__name__}")


def read_input(store: ArtifactStore, file: FileRecord) -> tuple[Sequence[InputRow], Sequence[InputFault]]:
    """All rows of an input file, and what is wrong with it. Blank lines are passed over.

    Raises:
        ArtifactDamaged: the file is not what was uploaded.
        StorageError: it cannot be read.
    """
    rows: list[InputRow] = []
    faults: list[InputFault] = []
    lines: dict[str, int] = {}
    with tempfile.TemporaryFile() as content:
        _fetch(store, file.artifact, content)
        end = 0
        for number, line in enumerate(content, 1):
            start, end = end, end + len(line)
            if not line.strip() or len(faults) == MAX_FAULTS:
                continue
            parsed = parse_line(line)
            if isinstance(parsed, InputFault):
                faults.append(replace(parsed, line=number))
            elif (first := lines.setdefault(parsed.custom_id, number)) != number:
                message = f"the custom_id {parsed.custom_id[:100]!r} stands in line {first} too; give each line its own"
                faults.append(InputFault("duplicate_custom_id", message, number, "custom_id"))
            else:
                rows.append(InputRow(number, parsed.custom_id, start, len(line)))
    return rows, faults


def check_rows(service: Service, batch: BatchRecord, file: FileRecord, rows: Sequence[InputRow]) -> list[CheckedRow]:
    """Rows that stand one behind the other, as videos to make or as refused; their prompts are enhanced together.

    Raises:
        ArtifactDamaged: the file is not there any more.
        StorageError: it cannot be read.
    """
    begin, last = rows[0].start, rows[-1]
    content = b"".join(service.store.read_range(file.artifact, begin, last.start + last.num_bytes))
    lines = ((row.line, content[row.start - begin : row.start - begin + row.num_bytes]) for row in rows)

    async def together() -> list[CheckedRow]:
        return await asyncio.gather(*(_checked(service, batch, line, text) for line, text in lines))

    return asyncio.run(together())


def write_output(service: Service, batch: BatchRecord) -> Written:
    """Store what became of a batch's rows, in the order of its input. Done again, it stores the same.

    Raises:
        StorageError: a file cannot be stored.
    """
    counts = {True: 0, False: 0}
    with tempfile.TemporaryDirectory() as folder:
        paths = {True: Path(folder, "output.jsonl"), False: Path(folder, "errors.jsonl")}
        with paths[True].open("wb") as output, paths[False].open("wb") as errors:
            for is_made, line in _output_lines(service, batch):
                (output if is_made else errors).write(line)
                counts[is_made] += 1
        kinds = {True: "output", False: "errors"}
        stored = {
            is_made: service.files.put(output_file_id(batch, kinds[is_made]), paths[is_made])
            for is_made, number in counts.items()
            if number
        }
    return Written(stored.get(True), stored.get(False), num_completed=counts[True], num_failed=counts[False])


async def _checked(service: Service, batch: BatchRecord, line: int, content: bytes) -> CheckedRow:
    try:
        return CheckedRow(line, await new_video(service, batch, line, content))
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001  what nobody foresaw of one row stops no other
        logger.error("line %d of %s: %s", line, batch.id, type(error).__name__)  # its message may hold a prompt
        told = unexpected()
        return CheckedRow(line, RowRefusal(told.status, told.code, told.message))


def _output_lines(service: Service, batch: BatchRecord) -> Iterator[tuple[bool, bytes]]:
    if batch.in_progress_at is None:
        return  # it was cancelled before all of its rows were known
    line = 0
    while rows := rows_behind(service.engine, batch, line, ROWS_AT_ONCE):
        for row in rows:
            yield output_line(service, batch, row)
        line = rows[-1].line


def _fetch(store: ArtifactStore, artifact: Artifact, target: BinaryIO) -> None:
    digest = hashlib.sha256()
    for chunk in store.read_range(artifact, 0, artifact.num_bytes):
        digest.update(chunk)
        target.write(chunk)
    if digest.hexdigest() != artifact.sha256:
        raise ArtifactDamaged(f"{artifact.path} is not what was uploaded; its digest must be its own: upload it again")
    target.seek(0)
