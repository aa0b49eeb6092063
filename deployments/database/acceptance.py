"""A checked request to a queued video: its row, its first event and its place in the queue, in one transaction."""

from __future__ import annotations

import time

import sqlalchemy as sa
from dbos import DBOSClient
from uuid6 import uuid7

from deployments.database import events, fair_order
from deployments.database.records import Accepted, KeyReused, NewVideo, NotThere, QueueFull, VideoRecord
from deployments.database.rows import Row, load, visible
from deployments.database.tables import results, videos
from deployments.database.transactions import insert_new, reading, writing
from fv_ray.artifact_store import Stage


def accept(
    engine: sa.Engine, client: DBOSClient, new: NewVideo, *, max_queued: int, max_queued_per_tenant: int
) -> Accepted:
    """Store a video that will be made: accepted is durable.

    The limits may be passed by as many as are accepted at the same moment.

    Raises:
        KeyReused: the key is known with another `request_hash`.
        QueueFull: too many wait.
        NotThere: the preview of a commit is no longer kept.
    """
    with writing(engine) as conn:
        while True:
            # Counted before the key is looked up: this key's first request may have filled the queue meanwhile.
            full = _full(conn, new.tenant, max_queued, max_queued_per_tenant)
            if first := _first_of_key(conn, new.tenant, new.idempotency_key):
                break
            if full is not None:
                raise full
            if video := insert(conn, client, new):
                return Accepted(load(conn, video.id), is_replay=False)
        return Accepted(_replayed(conn, first, new.request_hash), is_replay=True)


def first_of_key(engine: sa.Engine, tenant: str, key: str, request_hash: str) -> VideoRecord | None:
    """The video that a request has made under this key; None where the key is new.

    Raises:
        KeyReused: the key is known with another `request_hash`.
    """
    with reading(engine) as conn:
        first = _first_of_key(conn, tenant, key)
        return None if first is None else _replayed(conn, first, request_hash)


def insert(conn: sa.Connection, client: DBOSClient, new: NewVideo) -> Row | None:
    """A video in the caller's transaction; None where another request with the same key came first.

    Raises:
        NotThere: the preview of a commit is no longer kept.
    """
    if video := _insert(conn, new):
        if new.preview is not None:
            _share_preview(conn, video, new)
        events.append(conn, video, "video.queued", {"stage": video.stage})
        fair_order.enqueue(conn, client, video.id, video.stage, video.priority)
    return video


def _first_of_key(conn: sa.Connection, tenant: str, key: str | None) -> Row | None:
    if key is None:
        return None
    columns = (videos.c.id, videos.c.request_hash, videos.c.idempotency_key)
    is_first = (videos.c.tenant == tenant) & (videos.c.idempotency_key == key)
    return conn.execute(sa.select(*columns).where(is_first)).one_or_none()


def _replayed(conn: sa.Connection, first: Row, request_hash: str) -> VideoRecord:
    if first.request_hash != request_hash:
        raise KeyReused(f"the key {first.idempotency_key!r} came before with another request")
    return load(conn, first.id)


def _full(conn: sa.Connection, tenant: str, max_queued: int, max_queued_per_tenant: int) -> QueueFull | None:
    is_interactive = videos.c.priority <= fair_order.MAX_INTERACTIVE_TAG  # batches have limits of their own
    of_tenant, of_all = conn.execute(
        sa.select(sa.func.count().filter(videos.c.tenant == tenant), sa.func.count())
        .select_from(videos)
        .where(videos.c.is_waiting, is_interactive)
    ).one()
    if of_tenant >= max_queued_per_tenant:
        return QueueFull("tenant", of_tenant)
    return QueueFull("service", of_all) if of_all >= max_queued else None


def _insert(conn: sa.Connection, new: NewVideo) -> Row | None:
    """The new row; None where another request with the same key came first."""
    stage: Stage = "stage_two" if new.kind == "commit" else "stage_one"
    now = time.time()
    row = insert_new(conn, videos).values(
        id=f"video_{uuid7().hex}",
        tenant=new.tenant,
        idempotency_key=new.idempotency_key,
        request_hash=new.request_hash,
        kind=new.kind,
        parent_id=new.parent_id,
        state="queued",
        stage=stage,
        is_waiting=True,
        priority=fair_order.next_tag(conn, stage, new.tenant, for_batch=new.is_of_batch),
        progress=0,
        cancel_requested=False,
        model=new.model,
        checkpoint_digest=new.checkpoint_digest,
        request=new.request.model_dump(mode="json"),
        enhancement=None if new.enhancement is None else new.enhancement.model_dump(mode="json"),
        created_at=now,
        queued_at=now,
    )
    return conn.execute(row.returning(videos)).one_or_none()


def _share_preview(conn: sa.Connection, video: Row, new: NewVideo) -> None:
    """Give a commit its parent's preview, so that it is kept until the commit has ended."""
    assert new.preview is not None
    # The lock holds a sweeper off until this transaction's own row is there to be seen.
    parent = conn.execute(
        sa.select(results.c.record, results.c.work_key)
        .join(videos, videos.c.id == results.c.video_id)
        .where(visible(new.tenant), videos.c.id == new.parent_id, results.c.stage == "stage_one")
        .where(results.c.work_key == new.preview.work_key)
        .with_for_update(read=True, of=results)
    ).one_or_none()
    if parent is None:
        raise NotThere(f"the preview of {new.parent_id} is no longer kept")
    conn.execute(
        sa.insert(results).values(
            video_id=video.id,
            stage="stage_one",
            work_key=parent.work_key,
            record=parent.record,
            expires_at=video.created_at,
        )
    )
