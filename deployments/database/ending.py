"""How a video ends: completed, failed or cancelled. From there its state never changes."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from deployments.database import events
from deployments.database.records import DERIVED_KEY
from deployments.database.rows import Row, change
from deployments.database.tables import videos

MAX_MESSAGE_CHARACTERS = 2_000

FREED_KEY: sa.ColumnElement[Any] = sa.case(
    (videos.c.idempotency_key.startswith(DERIVED_KEY, autoescape=True), sa.null()), else_=videos.c.idempotency_key
)
"""A client's retry is told of the first video whatever became of it; a key of our own allows another."""


def complete(conn: sa.Connection, video: Row, expires_at: float) -> None:
    """All that was asked for is stored."""
    change(
        conn,
        video,
        state="completed",
        progress=100,
        completed_at=time.time(),
        expires_at=expires_at,
    )
    events.append(conn, video, "video.completed", {"progress": 100})


def fail(conn: sa.Connection, video: Row, code: str, message: str) -> None:
    """The video will not be made."""
    message = _storable(message)
    change(
        conn,
        video,
        state="failed",
        is_waiting=False,
        error_code=code,
        error_message=message,
        completed_at=time.time(),
        idempotency_key=FREED_KEY,
    )
    events.append(conn, video, "video.failed", {"error": {"code": code, "message": message}})


def cancel(conn: sa.Connection, video: Row) -> None:
    """As was asked for."""
    fail(conn, video, "cancelled", "The video was cancelled.")


def _storable(message: str) -> str:
    """What any exception says, as PostgreSQL takes it: no NUL and no half of a surrogate pair."""
    return message.encode("utf-8", "replace").decode().replace("\x00", "")[:MAX_MESSAGE_CHARACTERS]
