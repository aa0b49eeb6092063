"""What an orchestrator does to a batch, piece by piece: each is one transaction, and harmless to repeat.

A row becomes a video, or is refused, in the transaction that moves `submitted_to` to its line: it is never two videos.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database.acceptance import insert
from deployments.database.batch_records import (
    BatchRecord,
    BatchRow,
    CheckedRow,
    FileRecord,
    InputFault,
    InputRow,
    Outcome,
    RowRefusal,
    Written,
)
from deployments.database.batches import change_batch, lock_batch, record
from deployments.database.files import insert as insert_file
from deployments.database.records import NewVideo, NotThere
from deployments.database.rows import WITH_RESULTS, Row
from deployments.database.rows import record as video_record
from deployments.database.tables import batch_rows, batches, videos
from deployments.database.transactions import insert_new, reading, writing
from fv_ray.artifact_store import Artifact

NUM_FORGOTTEN_AT_ONCE = 1  # with up to 50,000 rows
PREVIEW_GONE = RowRefusal(404, "video_expired", "the preview is kept no longer; make it again", "id")


def load_batch(engine: sa.Engine, batch_id: str) -> BatchRecord | None:
    """A batch as it is now; None where it is kept no longer."""
    with reading(engine) as conn:
        row = conn.execute(sa.select(batches).where(batches.c.id == batch_id)).one_or_none()
        return None if row is None else record(row)


def add_rows(engine: sa.Engine, batch: BatchRecord, rows: Sequence[InputRow]) -> None:
    """Store some rows of a batch whose input is sound."""
    with writing(engine) as conn:
        locked = lock_batch(conn, batch.id)
        if locked is None or locked.state != "validating":
            return
        own = {"batch_id": batch.id, "tenant": batch.tenant, "state": "waiting", "refusal": None}
        conn.execute(insert_new(conn, batch_rows), [own | asdict(row) for row in rows])


def start(engine: sa.Engine, batch: BatchRecord, num_total: int) -> None:
    """All rows of a batch are stored: from here they become videos."""
    with writing(engine) as conn:
        locked = lock_batch(conn, batch.id)
        if locked is not None and locked.state == "validating":
            change_batch(conn, locked, state="in_progress", num_total=num_total, in_progress_at=time.time())


def refuse(engine: sa.Engine, batch: BatchRecord, faults: Sequence[InputFault]) -> None:
    """The input is not sound: nothing of it is made."""
    with writing(engine) as conn:
        locked = lock_batch(conn, batch.id)
        if locked is not None and locked.state == "validating":
            conn.execute(sa.delete(batch_rows).where(batch_rows.c.batch_id == batch.id))
            errors = [asdict(fault) for fault in faults]
            change_batch(conn, locked, state="failed", errors=errors, ended_at=time.time())


def next_rows(engine: sa.Engine, batch: BatchRecord, limit: int) -> Sequence[InputRow]:
    """The rows that are to become videos next."""
    columns = (batch_rows.c.line, batch_rows.c.custom_id, batch_rows.c.start, batch_rows.c.num_bytes)
    is_next = (batch_rows.c.batch_id == batch.id) & (batch_rows.c.line > batch.submitted_to)
    with reading(engine) as conn:
        found = conn.execute(sa.select(*columns).where(is_next).order_by(batch_rows.c.line).limit(limit))
        return [InputRow(**row._mapping) for row in found]


def submit(engine: sa.Engine, client: DBOSClient, batch: BatchRecord, rows: Sequence[CheckedRow]) -> None:
    """Make the next rows videos that wait, or note what was wrong with them."""
    with writing(engine) as conn:
        locked = lock_batch(conn, batch.id)
        if locked is None or locked.state != "in_progress" or locked.submitted_to != batch.submitted_to:
            return  # it was cancelled, or another orchestrator has done it
        num_failed = 0
        for row in rows:
            made = _queued(conn, client, row.made) if isinstance(row.made, NewVideo) else row.made
            values: dict[str, object] = {"state": "open", "video_id": made}
            if isinstance(made, RowRefusal):
                values = {"state": "failed", "refusal": asdict(made)}
                num_failed += 1
            conn.execute(sa.update(batch_rows).where(_is_row(batch.id, row.line)).values(**values))
        change_batch(conn, locked, submitted_to=rows[-1].line, num_failed=locked.num_failed + num_failed)


def collect(engine: sa.Engine, batch: BatchRecord) -> Sequence[str]:
    """Note which videos of a batch have ended; the ids of those that have not."""
    is_open = (batch_rows.c.batch_id == batch.id) & (batch_rows.c.state == "open")
    query = (
        sa.select(batch_rows.c.line, batch_rows.c.video_id, videos.c.state, videos.c.error_code)
        .select_from(batch_rows.outerjoin(videos, videos.c.id == batch_rows.c.video_id))
        .where(is_open)
        .order_by(batch_rows.c.line)
    )
    running: list[Row] = []
    ended: list[Row] = []
    with reading(engine) as conn:  # most often there is nothing to write
        for row in conn.execute(query):
            (running if row.state in ("queued", "in_progress") else ended).append(row)
    if ended:
        with writing(engine) as conn:
            locked = lock_batch(conn, batch.id)
            assert locked is not None
            num = {"completed": 0, "failed": 0, "withdrawn": 0}
            for row in ended:
                is_withdrawn = locked.outcome is not None and row.error_code == "cancelled"
                state = "completed" if row.state == "completed" else "withdrawn" if is_withdrawn else "failed"
                was_open = _is_row(batch.id, row.line) & (batch_rows.c.state == "open")
                num[state] += conn.execute(sa.update(batch_rows).where(was_open).values(state=state)).rowcount
            num_completed, num_failed = locked.num_completed + num["completed"], locked.num_failed + num["failed"]
            change_batch(conn, locked, num_completed=num_completed, num_failed=num_failed)
    return [row.video_id for row in running]


def begin_ending(engine: sa.Engine, batch: BatchRecord, outcome: Outcome) -> None:
    """No further rows: what is open is taken back, then the files are written."""
    with writing(engine) as conn:
        locked = lock_batch(conn, batch.id)
        if locked is not None and locked.state == "in_progress":
            change_batch(conn, locked, state="finalizing", outcome=outcome, finalizing_at=time.time())


def rows_behind(engine: sa.Engine, batch: BatchRecord, line: int, limit: int) -> Sequence[BatchRow]:
    """Rows and what became of them, by line."""
    is_next = (batch_rows.c.batch_id == batch.id) & (batch_rows.c.line > line)
    query = sa.select(batch_rows).where(is_next).order_by(batch_rows.c.line).limit(limit)
    with reading(engine) as conn:
        rows = conn.execute(query).all()
        found = conn.execute(WITH_RESULTS.where(videos.c.id.in_([row.video_id for row in rows if row.video_id])))
        made = {row.id: video_record(row) for row in found}
    return [
        BatchRow(
            line=row.line,
            custom_id=row.custom_id,
            state=row.state,
            video=made.get(row.video_id),
            refusal=None if row.refusal is None else RowRefusal(**row.refusal),
        )
        for row in rows
    ]


def end(engine: sa.Engine, batch: BatchRecord, written: Written) -> None:
    """The files are stored: show them, and with them the end of the batch."""
    with writing(engine) as conn:
        locked = lock_batch(conn, batch.id)
        if locked is None or locked.ended_at is not None:
            return
        ids = {
            "output_file_id": _add_file(conn, batch, "output", written.output),
            "error_file_id": _add_file(conn, batch, "errors", written.errors),
        }
        counts = {"num_completed": written.num_completed, "num_failed": written.num_failed}
        change_batch(conn, locked, state=locked.outcome, ended_at=time.time(), **ids, **counts)


def output_file_id(batch: BatchRecord, kind: str) -> str:
    """Of a batch's `output` or `errors`: always the same."""
    return f"file-{kind}-{batch.id.removeprefix('batch_')}"


def forget_batches(engine: sa.Engine, before: float) -> int:
    """Delete some batches that ended before a time, with their rows; how many."""
    old = sa.select(batches.c.id).where(batches.c.ended_at <= before).limit(NUM_FORGOTTEN_AT_ONCE)
    with writing(engine) as conn:
        return conn.execute(sa.delete(batches).where(batches.c.id.in_(old))).rowcount


def _queued(conn: sa.Connection, client: DBOSClient, new: NewVideo) -> str | RowRefusal:
    try:
        with conn.begin_nested():
            video = insert(conn, client, new)
    except NotThere:
        return PREVIEW_GONE
    assert video is not None, "its key is its line's, which has not been submitted"
    return str(video.id)


def _is_row(batch_id: str, line: int) -> sa.ColumnElement[bool]:
    return (batch_rows.c.batch_id == batch_id) & (batch_rows.c.line == line)


def _add_file(conn: sa.Connection, batch: BatchRecord, kind: str, artifact: Artifact | None) -> str | None:
    if artifact is None:
        return None
    now = time.time()
    file = FileRecord(
        id=output_file_id(batch, kind),
        tenant=batch.tenant,
        purpose="batch_output",
        filename=f"{batch.id}_{kind}.jsonl",
        artifact=artifact,
        created_at=now,
        expires_at=now + batch.output_keep_s,
    )
    insert_file(conn, file)
    return file.id
