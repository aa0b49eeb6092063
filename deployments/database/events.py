"""What happened to a video, numbered from 1 without gaps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from deployments.database.records import Event, NotThere
from deployments.database.rows import Row, visible
from deployments.database.tables import events, videos
from deployments.database.transactions import reading

EventType = Literal[
    "video.queued",
    "video.in_progress",
    "video.progress",
    "video.preview_ready",
    "video.completed",
    "video.failed",
    "video.deleted",
]


def append(conn: sa.Connection, video: Row, event: EventType, data: Mapping[str, Any]) -> None:
    """Number and store an event, in the transaction that has locked or inserted the video."""
    last = sa.select(sa.func.coalesce(sa.func.max(events.c.number), 0)).where(events.c.video_id == video.id)
    conn.execute(
        sa.insert(events).values(
            video_id=video.id,
            number=last.scalar_subquery() + 1,
            tenant=video.tenant,
            at=time.time(),
            type=event,
            data=dict(data),
        )
    )


def events_after(engine: sa.Engine, tenant: str, video_id: str, number: int) -> Sequence[Event]:
    """What happened to a video behind an event; 0 gives all of it. Raises: NotThere."""
    with reading(engine) as conn:
        if conn.execute(sa.select(videos.c.id).where(videos.c.id == video_id, visible(tenant))).first() is None:
            raise NotThere(video_id)
        found = conn.execute(
            sa.select(events.c.number, events.c.at, events.c.type, events.c.data)
            .where(events.c.video_id == video_id, events.c.number > number)
            .order_by(events.c.number)
        )
        return [Event(**row._mapping) for row in found]
