"""Files that clients uploaded, and what batches wrote: their bytes are in the store, here is whose they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import sqlalchemy as sa

from deployments.database.batch_records import FileRecord, Listed, Purpose
from deployments.database.listing import list_rows
from deployments.database.records import NotThere
from deployments.database.rows import Row
from deployments.database.tables import batches, files
from deployments.database.transactions import insert_new, reading, writing
from fv_ray.artifact_store import Artifact

NUM_AT_ONCE = 500
GRACE_S = 3_600
"""How long the bytes of a file outlive it: a batch that has just begun with it, or a download, still reads them."""


def add(engine: sa.Engine, file: FileRecord) -> FileRecord:
    """Show a file whose bytes are stored."""
    with writing(engine) as conn:
        insert(conn, file)
    return file


def insert(conn: sa.Connection, file: FileRecord) -> None:
    """As `add`, in the caller's transaction."""
    conn.execute(
        insert_new(conn, files).values(
            id=file.id,
            tenant=file.tenant,
            purpose=file.purpose,
            filename=file.filename,
            artifact=file.artifact.model_dump(mode="json"),
            path=file.artifact.path,
            created_at=file.created_at,
            expires_at=file.expires_at,
        )
    )


def read_file(engine: sa.Engine, tenant: str, file_id: str) -> FileRecord:
    """One file. Raises: NotThere (also for another tenant's, a deleted and an expired one)."""
    with reading(engine) as conn:
        return shown_file(conn, tenant, file_id)


def shown_file(conn: sa.Connection, tenant: str, file_id: str) -> FileRecord:
    """As `read_file`, in the caller's transaction."""
    is_it = (files.c.id == file_id) & (files.c.tenant == tenant) & _is_shown()
    row = conn.execute(sa.select(files).where(is_it)).one_or_none()
    if row is None:
        raise NotThere(file_id)
    return _record(row)


def input_file(engine: sa.Engine, tenant: str, file_id: str) -> FileRecord:
    """A file that a batch works with: it stays, though it was deleted or has expired meanwhile."""
    with reading(engine) as conn:
        is_it = (files.c.id == file_id) & (files.c.tenant == tenant)
        return _record(conn.execute(sa.select(files).where(is_it)).one())


def list_files(
    engine: sa.Engine,
    tenant: str,
    *,
    purpose: Purpose | None,
    after: str | None,
    limit: int,
    order: Literal["asc", "desc"],
) -> Listed[FileRecord]:
    """By creation. Raises: NotThere, for an unknown `after`."""
    shown = _is_shown() if purpose is None else _is_shown() & (files.c.purpose == purpose)
    page = list_rows(engine, files, shown, tenant, after=after, limit=limit, order=order)
    return Listed([_record(row) for row in page.items], page.has_more)


def delete_file(engine: sa.Engine, tenant: str, file_id: str) -> None:
    """Show it no more; a sweeper removes its bytes. Raises: NotThere."""
    is_it = (files.c.id == file_id) & (files.c.tenant == tenant) & _is_shown()
    with writing(engine) as conn:
        if conn.execute(sa.update(files).where(is_it).values(deleted_at=time.time())).rowcount != 1:
            raise NotThere(file_id)


def sweep_files(engine: sa.Engine, remove: Callable[[str], object], now: float) -> int:
    """Remove files that are shown no more and that no batch needs; how many.

    Args:
        engine: the database.
        remove: given a path, removes the bytes; the same one may come again. What it raises ends the sweep.
        now: Unix seconds.
    """
    is_old = (files.c.expires_at <= now - GRACE_S) | (files.c.deleted_at <= now - GRACE_S)
    is_needed = sa.exists().where(batches.c.input_file_id == files.c.id, batches.c.ended_at.is_(None))
    num_removed = 0
    while True:
        with reading(engine) as conn:
            due = conn.execute(sa.select(files.c.id, files.c.path).where(is_old, ~is_needed).limit(NUM_AT_ONCE)).all()
        for row in due:
            remove(row.path)
        if not due:
            return num_removed
        with writing(engine) as conn:
            conn.execute(sa.delete(files).where(files.c.id.in_([row.id for row in due])))
        num_removed += len(due)


def unknown_paths(engine: sa.Engine, paths: Iterable[str]) -> Iterator[str]:
    """Those of no file: whoever stored them died before it said so."""
    for path in paths:
        with reading(engine) as conn:
            if conn.execute(sa.select(files.c.id).where(files.c.path == path)).first() is None:
                yield path


def _is_shown() -> sa.ColumnElement[bool]:
    return files.c.deleted_at.is_(None) & (files.c.expires_at > time.time())


def _record(row: Row) -> FileRecord:
    return FileRecord(
        id=row.id,
        tenant=row.tenant,
        purpose=row.purpose,
        filename=row.filename,
        artifact=Artifact.model_validate(row.artifact),
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
