"""Transactions whose failures are told as `DatabaseUnavailable`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from deployments.database.records import DatabaseUnavailable


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for queries."""
    with unavailable(), engine.connect() as conn:
        yield conn


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction, committed when the block ends without an error and undone otherwise."""
    with unavailable(), engine.begin() as conn:
        if conn.dialect.name == "sqlite":
            # Python's driver begins at the first INSERT or UPDATE: what was read before could have changed by then.
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        yield conn


@contextmanager
def unavailable() -> Iterator[None]:
    """Tell what is the database's fault, and not ours, as DatabaseUnavailable."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise DatabaseUnavailable(f"the database does not answer: {str(cause).strip()}") from error


def insert_new(conn: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that does nothing where a unique value is taken; it waits for one that is on its way."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()
