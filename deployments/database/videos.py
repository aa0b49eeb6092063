"""What the ingress asks of a tenant's videos, and does to them once they are accepted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import sqlalchemy as sa

from deployments.database import ending, events
from deployments.database.records import NotThere, Page, StageLoad, State, VideoRecord
from deployments.database.rows import WITH_RESULTS, Row, change, load, lock, lock_visible, record, visible
from deployments.database.tables import TIME, attempts, probes, videos
from deployments.database.transactions import reading, writing
from fv_ray.artifact_store import Stage

NUM_RECENT = 20
"""Runs that a stage's mean duration is taken of."""

# Built once: that takes as long as to ask.
_RECENT = (
    sa.select(attempts.c.device_seconds)
    .where(attempts.c.stage == sa.bindparam("stage"), attempts.c.outcome == "done")
    .order_by(attempts.c.ended_at.desc())
    .limit(NUM_RECENT)
    .subquery()
)
_MEAN_OF_RECENT = sa.select(sa.func.avg(_RECENT.c.device_seconds))
_ONE = WITH_RESULTS.where(videos.c.id == sa.bindparam("id"), visible(sa.bindparam("tenant")))
_PLACE = sa.tuple_(videos.c.priority, videos.c.queued_at)
_NUM_BEFORE = (
    sa.select(sa.func.count())
    .select_from(videos)
    .where(videos.c.is_waiting & (videos.c.stage == sa.bindparam("stage")))
    .where(sa.tuple_(sa.bindparam("priority", type_=sa.Integer), sa.bindparam("queued_at", type_=TIME)) > _PLACE)
)


def read(engine: sa.Engine, tenant: str, video_id: str) -> VideoRecord:
    """One video. Raises: NotThere (also for another tenant's and for a deleted one)."""
    with reading(engine) as conn:
        row = conn.execute(_ONE, {"id": video_id, "tenant": tenant}).one_or_none()
    if row is None:
        raise NotThere(video_id)
    return record(row)


def list_videos(
    engine: sa.Engine, tenant: str, *, after: str | None, limit: int, order: Literal["asc", "desc"]
) -> Page:
    """By creation; `after` is the last id of the page before, which may have been deleted since.

    Raises:
        NotThere: for an unknown `after`.
    """
    place = sa.tuple_(videos.c.created_at, videos.c.id)
    query = WITH_RESULTS.where(visible(tenant)).limit(limit + 1)
    is_up = order == "asc"
    query = query.order_by(*(column.asc() if is_up else column.desc() for column in (videos.c.created_at, videos.c.id)))
    with reading(engine) as conn:
        if after is not None:
            is_last = (videos.c.id == after) & (videos.c.tenant == tenant)
            last = conn.execute(sa.select(videos.c.created_at, videos.c.id).where(is_last)).one_or_none()
            if last is None:
                raise NotThere(after)
            query = query.where(place > tuple(last) if is_up else place < tuple(last))
        rows = conn.execute(query).all()
    return Page([record(row) for row in rows[:limit]], has_more=len(rows) > limit)


def cancel(engine: sa.Engine, tenant: str, video_id: str) -> VideoRecord:
    """End a waiting video at once, and ask a running one to end. A finished one stays as it is. Raises: NotThere."""
    with writing(engine) as conn:
        _stop(conn, lock_visible(conn, tenant, video_id))
        return load(conn, video_id)


def delete(engine: sa.Engine, tenant: str, video_id: str) -> VideoRecord:
    """Cancel, and show it no more; a sweeper removes its files. Raises: NotThere."""
    with writing(engine) as conn:
        _stop(conn, lock_visible(conn, tenant, video_id))
        video = lock(conn, video_id)
        assert video is not None
        change(conn, video, deleted_at=time.time(), idempotency_key=ending.FREED_KEY)
        events.append(conn, video, "video.deleted", {})
        return load(conn, video_id)


def _stop(conn: sa.Connection, video: Row) -> None:
    if video.state in {"completed", "failed"}:
        return
    is_open = (attempts.c.video_id == video.id) & (attempts.c.outcome == "running")
    if conn.execute(sa.select(attempts.c.number).where(is_open)).first() is None:
        ending.cancel(conn, video)  # it waits in the queue, or between two attempts
    else:
        change(conn, video, cancel_requested=True)


def queue_position(engine: sa.Engine, video: VideoRecord) -> int | None:
    """How many wait before a waiting video for the same stage; None for one that does not wait."""
    if not video.is_waiting:
        return None
    place = {"stage": video.stage, "priority": video.priority, "queued_at": video.queued_at}
    with reading(engine) as conn:
        return conn.execute(_NUM_BEFORE, place).scalar_one()


def mean_device_seconds(engine: sa.Engine, stages: Sequence[Stage]) -> dict[Stage, float | None]:
    """Of the last runs of each stage that were done; None before the first."""
    with reading(engine) as conn:
        return {stage: conn.execute(_MEAN_OF_RECENT, {"stage": stage}).scalar() for stage in stages}


def stage_load(engine: sa.Engine, stage: Stage) -> StageLoad:
    """How busy a stage is; a video between two attempts counts as running."""
    count = sa.select(sa.func.count()).select_from(videos).where(videos.c.stage == stage)
    with reading(engine) as conn:
        num_running = conn.execute(count.where(videos.c.state == "in_progress", ~videos.c.is_waiting)).scalar_one()
        num_queued = conn.execute(count.where(videos.c.is_waiting)).scalar_one()
        mean_device_s = conn.execute(_MEAN_OF_RECENT, {"stage": stage}).scalar()
    return StageLoad(num_queued, num_running, mean_device_s)


def count_states(engine: sa.Engine) -> Mapping[State, int]:
    """How many videos there are, of all tenants, by state; deleted ones are not counted."""
    counts = sa.select(videos.c.state, sa.func.count().label("number")).where(videos.c.deleted_at.is_(None))
    with reading(engine) as conn:
        return {row.state: row.number for row in conn.execute(counts.group_by(videos.c.state))}


def check(engine: sa.Engine) -> None:
    """See that the database commits what is written, for a readiness probe."""
    with writing(engine) as conn:
        conn.execute(sa.update(probes).values(at=time.time()))
