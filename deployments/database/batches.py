"""What the ingress asks of a tenant's batches: a new one with its place in the queue, look, list, cancel."""

from __future__ import annotations

import time

import sqlalchemy as sa
from dbos import DBOSClient, EnqueueOptions, WorkflowSerializationFormat
from uuid6 import uuid7

from deployments.database.batch_records import BatchRecord, InputFault, Listed, NewBatch, TooManyBatches
from deployments.database.files import shown_file
from deployments.database.listing import list_rows
from deployments.database.records import KeyReused, NotThere
from deployments.database.rows import Row
from deployments.database.tables import batches
from deployments.database.transactions import insert_new, reading, writing
from deployments.job_names import APPLICATION_VERSION, BATCHES, RUN_BATCH

HAS_ENDED = batches.c.ended_at.is_not(None)


def create(engine: sa.Engine, client: DBOSClient, new: NewBatch, *, max_open: int) -> BatchRecord:
    """Store a batch that will be run: accepted is durable. One that the same key had asked for is given again.

    Raises:
        KeyReused: the key is known with another `request_hash`.
        NotThere: the tenant has no such file, or it cannot be a batch's input.
        TooManyBatches: so many of the tenant's have not ended.
    """
    with writing(engine) as conn:
        if first := _first_of_key(conn, new):
            return first
        is_open = (batches.c.tenant == new.tenant) & ~HAS_ENDED
        num_open = conn.execute(sa.select(sa.func.count()).select_from(batches).where(is_open)).scalar_one()
        if num_open >= max_open:
            raise TooManyBatches(num_open)
        if shown_file(conn, new.tenant, new.input_file_id).purpose != "batch":
            raise NotThere(new.input_file_id)
        if (row := _insert(conn, new)) is None:  # the key's first request was on its way
            first = _first_of_key(conn, new)
            assert first is not None
            return first
        options = EnqueueOptions(
            workflow_name=RUN_BATCH,
            queue_name=BATCHES,
            workflow_id=row.id,
            app_version=APPLICATION_VERSION,
            serialization_type=WorkflowSerializationFormat.PORTABLE,
        )
        client.enqueue_in_transaction(conn, options, row.id)
        return record(row)


def read_batch(engine: sa.Engine, tenant: str, batch_id: str) -> BatchRecord:
    """One batch. Raises: NotThere (also for another tenant's)."""
    with reading(engine) as conn:
        is_it = (batches.c.id == batch_id) & (batches.c.tenant == tenant)
        row = conn.execute(sa.select(batches).where(is_it)).one_or_none()
    if row is None:
        raise NotThere(batch_id)
    return record(row)


def list_batches(engine: sa.Engine, tenant: str, *, after: str | None, limit: int) -> Listed[BatchRecord]:
    """The newest first. Raises: NotThere, for an unknown `after`."""
    page = list_rows(engine, batches, sa.true(), tenant, after=after, limit=limit, order="desc")
    return Listed([record(row) for row in page.items], page.has_more)


def cancel_batch(engine: sa.Engine, tenant: str, batch_id: str) -> BatchRecord:
    """Ask a batch to end. One that has all its results, or has ended, stays as it is. Raises: NotThere."""
    with writing(engine) as conn:
        row = lock_batch(conn, batch_id)
        if row is None or row.tenant != tenant:
            raise NotThere(batch_id)
        if row.state in ("validating", "in_progress"):
            change_batch(conn, row, state="cancelling", outcome="cancelled", cancelling_at=time.time())
        return record(conn.execute(sa.select(batches).where(batches.c.id == batch_id)).one())


def lock_batch(conn: sa.Connection, batch_id: str) -> Row | None:
    """A batch's row, which nobody else changes until this transaction ends. Every change begins with it."""
    return conn.execute(sa.select(batches).where(batches.c.id == batch_id).with_for_update()).one_or_none()


def change_batch(conn: sa.Connection, batch: Row, **values: object) -> None:
    """Change a locked row."""
    conn.execute(sa.update(batches).where(batches.c.id == batch.id).values(**values))


def record(row: Row) -> BatchRecord:
    """A row of `batches` as a record."""
    values = {name: value for name, value in row._mapping.items() if name not in ("idempotency_key", "request_hash")}
    return BatchRecord(**values | {"errors": [InputFault(**fault) for fault in row.errors]})


def _first_of_key(conn: sa.Connection, new: NewBatch) -> BatchRecord | None:
    if new.idempotency_key is None:
        return None
    is_first = (batches.c.tenant == new.tenant) & (batches.c.idempotency_key == new.idempotency_key)
    row = conn.execute(sa.select(batches).where(is_first)).one_or_none()
    if row is not None and row.request_hash != new.request_hash:
        raise KeyReused(f"the key {new.idempotency_key!r} came before with another request")
    return None if row is None else record(row)


def _insert(conn: sa.Connection, new: NewBatch) -> Row | None:
    now = time.time()
    row = insert_new(conn, batches).values(
        id=f"batch_{uuid7().hex}",
        tenant=new.tenant,
        idempotency_key=new.idempotency_key,
        request_hash=new.request_hash,
        endpoint=new.endpoint,
        completion_window=new.completion_window,
        metadata=None if new.metadata is None else dict(new.metadata),
        output_keep_s=new.output_keep_s,
        input_file_id=new.input_file_id,
        state="validating",
        errors=[],
        num_total=0,
        num_completed=0,
        num_failed=0,
        submitted_to=0,
        created_at=now,
        expires_at=now + new.window_s,
    )
    return conn.execute(row.returning(batches)).one_or_none()
