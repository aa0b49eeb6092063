"""Rows of videos to records, read or locked for a change."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from deployments.database.records import NotThere, VideoRecord
from deployments.database.tables import results, videos
from fv_ray.artifact_store import StageRecord
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import VideoRequest

Row = sa.Row[*tuple[Any, ...]]

_PREVIEW, _VIDEO = results.alias("preview"), results.alias("video")
_HIDDEN = frozenset({"idempotency_key", "request_hash"})

WITH_RESULTS = sa.select(
    *(column for column in videos.c if column.name not in _HIDDEN),
    _PREVIEW.c.record.label("preview"),
    _VIDEO.c.record.label("video"),
).select_from(
    videos.outerjoin(_PREVIEW, (_PREVIEW.c.video_id == videos.c.id) & (_PREVIEW.c.stage == "stage_one")).outerjoin(
        _VIDEO, (_VIDEO.c.video_id == videos.c.id) & (_VIDEO.c.stage == "stage_two")
    )
)
"""Videos with all that a record needs."""


def visible(tenant: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    """The videos that a tenant is shown."""
    return (videos.c.tenant == tenant) & videos.c.deleted_at.is_(None)


def record(row: Row) -> VideoRecord:
    """A row of WITH_RESULTS as a record."""
    values = dict(row._mapping)
    values["request"] = VideoRequest.model_validate(values["request"])
    if values["enhancement"] is not None:
        values["enhancement"] = Enhanced.model_validate(values["enhancement"])
    for name in ("preview", "video"):
        values[name] = None if values[name] is None else StageRecord.model_validate(values[name])
    return VideoRecord(**values)


def load(conn: sa.Connection, video_id: str) -> VideoRecord:
    """The record of a video that is there."""
    return record(conn.execute(WITH_RESULTS.where(videos.c.id == video_id)).one())


def lock(conn: sa.Connection, video_id: str) -> Row | None:
    """A video's row, which nobody else changes until this transaction ends.

    Every change begins with it, so that changes of one video come one after the other and its events have no gaps.
    """
    return conn.execute(sa.select(videos).where(videos.c.id == video_id).with_for_update()).one_or_none()


def lock_visible(conn: sa.Connection, tenant: str, video_id: str) -> Row:
    """As `lock`, of what a tenant is shown. Raises: NotThere."""
    row = lock(conn, video_id)
    if row is None or row.tenant != tenant or row.deleted_at is not None:
        raise NotThere(video_id)
    return row


def change(conn: sa.Connection, video: Row, **values: object) -> None:
    """Change a locked row, provided that it still is what was decided on."""
    is_same = [videos.c[name] == getattr(video, name) for name in ("id", "state", "stage", "is_waiting")]
    if conn.execute(sa.update(videos).where(*is_same).values(**values)).rowcount != 1:
        raise RuntimeError(f"video {video.id} was changed without its lock")
