"""Small files and batches, and the calls that tests make with them."""

import time
from typing import Any
from uuid import uuid4

from deployments.database.batch_records import BatchRecord, CheckedRow, FileRecord, InputRow, NewBatch
from deployments.database.batch_steps import add_rows, load_batch, next_rows, start, submit
from deployments.database.batches import create
from deployments.database.files import add
from deployments.database.records import Kind, NewVideo
from fv_ray.artifact_store import Artifact
from tests.deployments.videos import Database, a_video

WINDOW_S = 1000.0


def a_file(database: Database, tenant: str = "fox", **changes: Any) -> FileRecord:
    """A row alone: there are no bytes."""
    file_id = f"file-{uuid4().hex}"
    artifact = Artifact(path=f"f/00/{file_id}.jsonl", sha256="0" * 64, num_bytes=1, media_type="application/jsonl")
    values = {"purpose": "batch", "filename": "in.jsonl", "created_at": time.time(), "expires_at": time.time() + 1000}
    return add(database.engine, FileRecord(file_id, tenant, **{**values, "artifact": artifact, **changes}))


def a_new_batch(file: FileRecord, **changes: Any) -> NewBatch:
    values = {"completion_window": "24h", "window_s": WINDOW_S, "output_keep_s": 1000}
    return NewBatch(file.tenant, "/v1/videos", file.id, **values | changes)


def created(database: Database, new: NewBatch | None = None, *, most: int = 100) -> BatchRecord:
    new = new or a_new_batch(a_file(database))
    return create(database.engine, database.client, new, max_open=most)


def now(database: Database, batch: BatchRecord) -> BatchRecord:
    found = load_batch(database.engine, batch.id)
    assert found is not None
    return found


def started(database: Database, num_rows: int, tenant: str = "fox") -> BatchRecord:
    """A batch whose rows are known."""
    batch = created(database, a_new_batch(a_file(database, tenant)))
    rows = [InputRow(line, f"row {line}", 10 * line, 10) for line in range(1, num_rows + 1)]
    add_rows(database.engine, batch, rows)
    start(database.engine, batch, num_rows)
    return now(database, batch)


def row_video(batch: BatchRecord, line: int, kind: Kind = "full", **changes: Any) -> NewVideo:
    key = f"batch/{batch.id}/{line}"
    return a_video(batch.tenant, kind, is_of_batch=True, idempotency_key=key, **changes)


def submitted(database: Database, batch: BatchRecord, num_rows: int, kind: Kind = "full") -> BatchRecord:
    """With its next rows as videos."""
    rows = next_rows(database.engine, batch, num_rows)
    checked = [CheckedRow(row.line, row_video(batch, row.line, kind)) for row in rows]
    submit(database.engine, database.client, batch, checked)
    return now(database, batch)
