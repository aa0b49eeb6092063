"""What is kept for how long: results are marked first and removed second, and rows go when their results are gone.

A result belongs to every video that asked for the same work, and is removed when the last of them has let it go. A
stage that finds it in the store just then is told by `finish_stage`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database.ending import FREED_KEY
from deployments.database.tables import attempts, removals, results, videos
from deployments.database.transactions import reading, writing

NUM_AT_ONCE = 500
"""Rows of one transaction, so that nobody waits long for it."""

MEMORY_S = 3_600
"""How long a removed result is remembered: no stage holds a record that it has found for longer."""

DELETED_RECORD_S = 86_400
"""How long a deleted video's row is kept: a late duplicate of the request that made it makes no other."""

WORKFLOW_S = 86_400
"""How long DBOS' rows of a try that has ended are kept, for people: our own rows say what became of it."""

_HAS_ENDED = videos.c.state.in_(["completed", "failed"])


def sweep(
    engine: sa.Engine,
    client: DBOSClient,
    remove: Callable[[str], object],
    *,
    record_s: float,
    usage_s: float,
    clock: Callable[[], float] = time.time,
) -> int:
    """Remove all that has expired. One sweeper at a time: another one would remove what was made again meanwhile.

    Args:
        engine: the database.
        client: of DBOS.
        remove: given a work key, removes its files; the same one may come again. What it raises ends the sweep.
        record_s: how long an ended video's row is kept, though not before its results have gone.
        usage_s: how long attempts are kept.
        clock: Unix seconds.

    Returns:
        How many results were removed.
    """
    now = clock()
    while mark_expired(engine, now):
        pass
    num_removed = 0
    while marked := marked_results(engine):
        for work_key in marked:
            remove(work_key)
            note_removed(engine, work_key, clock())  # behind the removal, which may have met a record just stored
        num_removed += len(marked)
    while forget(engine, now, record_s=record_s, usage_s=usage_s):
        pass
    while forget_workflows(client, now):
        pass
    return num_removed


def mark_expired(engine: sa.Engine, now: float) -> int:
    """Take expired results from ended videos and mark those that no video has any more; how many were taken."""
    is_due = _HAS_ENDED & ((results.c.expires_at <= now) | videos.c.deleted_at.is_not(None))
    due = sa.select(results.c.video_id, results.c.stage).join(videos, videos.c.id == results.c.video_id).where(is_due)
    with writing(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql("LOCK TABLE removals IN EXCLUSIVE MODE")
        in_due = sa.tuple_(results.c.video_id, results.c.stage).in_(due.limit(NUM_AT_ONCE))
        taken = conn.execute(sa.delete(results).where(in_due).returning(*results.c)).all()
        if taken:
            _free_keys(conn, {row.video_id for row in taken if row.stage == "stage_two"})
            _mark(conn, {row.work_key for row in taken}, now)
        return len(taken)


def marked_results(engine: sa.Engine) -> Sequence[str]:
    """Work keys of some results that shall be removed."""
    is_marked = removals.c.removed_at.is_(None)
    with reading(engine) as conn:
        return conn.execute(sa.select(removals.c.work_key).where(is_marked).limit(NUM_AT_ONCE)).scalars().all()


def note_removed(engine: sa.Engine, work_key: str, now: float) -> None:
    """Say that a marked result's files are gone: the same work may be done again."""
    with writing(engine) as conn:
        conn.execute(sa.update(removals).where(removals.c.work_key == work_key).values(removed_at=now))


def forget(engine: sa.Engine, now: float, *, record_s: float, usage_s: float) -> int:
    """Delete some rows that are old enough; how many."""
    is_old = videos.c.completed_at <= now - record_s
    was_deleted = (videos.c.deleted_at <= now - DELETED_RECORD_S) & _HAS_ENDED
    has_results = sa.exists().where(results.c.video_id == videos.c.id)
    old_videos = sa.select(videos.c.id).where(is_old | was_deleted, ~has_results).limit(NUM_AT_ONCE)
    # Those of a video that has not ended say what its next one is called.
    is_needed = sa.exists().where(videos.c.id == attempts.c.video_id, ~_HAS_ENDED)
    old_attempts = sa.select(attempts.c.video_id, attempts.c.stage, attempts.c.number).where(
        attempts.c.ended_at <= now - usage_s, ~is_needed
    )
    attempt = sa.tuple_(attempts.c.video_id, attempts.c.stage, attempts.c.number)
    with writing(engine) as conn:
        conn.execute(sa.delete(removals).where(removals.c.removed_at <= now - MEMORY_S))
        num_videos = conn.execute(sa.delete(videos).where(videos.c.id.in_(old_videos))).rowcount
        num_attempts = conn.execute(sa.delete(attempts).where(attempt.in_(old_attempts.limit(NUM_AT_ONCE)))).rowcount
        return num_videos + num_attempts


def forget_workflows(client: DBOSClient, now: float) -> int:
    """Delete DBOS' rows of some tries that ended long ago, since it never does itself; how many.

    What waits or runs is kept, and with it the one workflow of each video that has not ended.
    """
    before = datetime.fromtimestamp(now - WORKFLOW_S, UTC).isoformat()
    ended = client.list_workflows(completed_before=before, limit=NUM_AT_ONCE, load_input=False, load_output=False)
    client.delete_workflows([workflow.workflow_id for workflow in ended])
    return len(ended)


def _free_keys(conn: sa.Connection, video_ids: set[str]) -> None:
    """A commit whose video has expired may be asked for again; its preview it lets go as soon as it has ended."""
    conn.execute(sa.update(videos).where(videos.c.id.in_(video_ids)).values(idempotency_key=FREED_KEY))


def _mark(conn: sa.Connection, work_keys: set[str], now: float) -> None:
    kept = set(conn.execute(sa.select(results.c.work_key).where(results.c.work_key.in_(work_keys))).scalars())
    if unused := work_keys - kept:
        conn.execute(sa.delete(removals).where(removals.c.work_key.in_(unused)))
        conn.execute(sa.insert(removals), [{"work_key": key, "marked_at": now} for key in sorted(unused)])
