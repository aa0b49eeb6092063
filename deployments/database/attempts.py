"""What an orchestrator does to a video while a stage runs.

An attempt that was closed meanwhile, since another orchestrator took its video over, changes nothing any more. Its
result is in the store, where the new one finds it.

A video that has not ended has one workflow that will bring it on, at any time: what puts the next one into a queue is
the transaction with which the one before has done its part.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database import ending, events, fair_order
from deployments.database.records import COUNTED, Attempt, Outcome, ResultRemoved
from deployments.database.rows import Row, change, load, lock
from deployments.database.tables import attempts, removals, results, videos
from deployments.database.transactions import reading, writing
from fv_ray.artifact_store import Stage, StageRecord

MAX_RUNNING_PERCENT = 99


def begin_attempt(engine: sa.Engine, video_id: str, stage: Stage, number: int) -> Attempt | None:
    """Mark a video as in progress and open an attempt; None where a workflow has nothing left to do.

    An attempt that is still open was left by an orchestrator that died: it is closed as lost.

    Args:
        engine: the database.
        video_id: None is given where it was cancelled, deleted or done.
        stage: at which it should be.
        number: of the workflow's first attempt. Where that one or a later one has ended, the next workflow is in the
            queue, and this one runs again since it died before DBOS knew.
    """
    with writing(engine) as conn:
        video = lock(conn, video_id)
        if video is None or video.stage != stage or video.state not in {"queued", "in_progress"}:
            return None
        of_video = (attempts.c.video_id == video_id) & (attempts.c.stage == stage)
        has_ended = attempts.c.outcome.not_in(["running", "lost"])
        if conn.execute(sa.select(attempts.c.number).where(of_video, attempts.c.number >= number, has_ended)).first():
            return None
        lost = sa.update(attempts).where(of_video, attempts.c.outcome == "running")
        conn.execute(lost.values(outcome="lost", ended_at=time.time()))
        if video.cancel_requested:
            ending.cancel(conn, video)
            return None
        if video.is_waiting:
            _start(conn, video)
        earlier = conn.execute(sa.select(attempts.c.outcome).where(of_video)).scalars().all()
        opened = sa.insert(attempts).values(
            video_id=video_id,
            stage=stage,
            number=len(earlier) + 1,
            tenant=video.tenant,
            outcome="running",
            started_at=time.time(),
        )
        conn.execute(opened)
        num_counted = sum(outcome in COUNTED for outcome in earlier)
        return Attempt(load(conn, video_id), stage, len(earlier) + 1, num_counted)


def record_progress(engine: sa.Engine, attempt: Attempt, percent: int, data: Mapping[str, Any]) -> bool:
    """Tell how far a video is; whether the attempt shall be cancelled.

    Progress that is no more than before is no event, so that a video has no more than 99 of them.
    """
    with writing(engine) as conn:
        video = _lock_open(conn, attempt)
        if video is None:
            return True
        percent = min(percent, MAX_RUNNING_PERCENT)
        if percent > video.progress:
            change(conn, video, progress=percent)
            events.append(conn, video, "video.progress", {**data, "stage": attempt.stage, "progress": percent})
        return bool(video.cancel_requested)


def cancel_requested(engine: sa.Engine, video_ids: Sequence[str]) -> set[str]:
    """Those of running videos that shall be cancelled."""
    is_asked = videos.c.cancel_requested & (videos.c.state == "in_progress")
    with reading(engine) as conn:
        return set(conn.execute(sa.select(videos.c.id).where(videos.c.id.in_(video_ids), is_asked)).scalars())


def finish_stage(
    engine: sa.Engine, client: DBOSClient, attempt: Attempt, record: StageRecord, outcome: Outcome, *, keep_s: float
) -> None:
    """Store a stage's result for `keep_s` seconds; a full video then waits for stage two, others are completed.

    What was completed stays so, though a cancel was asked for; a full video is cancelled between its stages.

    Raises:
        ResultRemoved: the record was found in the store, but has expired; the attempt is still open.
    """
    with writing(engine) as conn:
        video = _lock_open(conn, attempt)
        if video is None:
            return
        _refuse_removed(conn, record)
        _close(conn, attempt, outcome, record)
        expires_at = time.time() + keep_s
        conn.execute(sa.delete(results).where(results.c.video_id == video.id, results.c.stage == attempt.stage))
        stored = sa.insert(results).values(
            video_id=video.id,
            stage=attempt.stage,
            work_key=record.work_key,
            record=record.model_dump(mode="json"),
            expires_at=expires_at,
        )
        conn.execute(stored)
        if video.kind != "full" or attempt.stage == "stage_two":
            ending.complete(conn, video, expires_at)
            return
        events.append(conn, video, "video.preview_ready", {"stage": attempt.stage})
        if video.cancel_requested:
            ending.cancel(conn, video)
        else:
            _queue(conn, client, video, "stage_two")


def close_attempt(
    engine: sa.Engine, client: DBOSClient, attempt: Attempt, outcome: Outcome, *, retry_in_s: float
) -> None:
    """An attempt ended without a result: the video will be tried again, and waits for it outside of its stage."""
    with writing(engine) as conn:
        video = _lock_open(conn, attempt)
        if video is not None:
            _close(conn, attempt, outcome)
            number = attempt.number + 1
            fair_order.enqueue(conn, client, video.id, attempt.stage, video.priority, number=number, delay_s=retry_in_s)


def remake_preview(engine: sa.Engine, client: DBOSClient, attempt: Attempt) -> None:
    """Stage two cannot read the preview: the video goes back to stage one, and keeps what it has until that is done."""
    with writing(engine) as conn:
        video = _lock_open(conn, attempt)
        if video is not None:
            _close(conn, attempt, "failed")
            events.append(conn, video, "video.queued", {"stage": "stage_one"})
            _queue(conn, client, video, "stage_one")


def fail(engine: sa.Engine, attempt: Attempt, outcome: Outcome, code: str, message: str) -> None:
    """An attempt ended, and the video with it."""
    with writing(engine) as conn:
        video = _lock_open(conn, attempt)
        if video is not None:
            _close(conn, attempt, outcome)
            ending.fail(conn, video, code, message)


def _start(conn: sa.Connection, video: Row) -> None:
    fair_order.advance_clock(conn, video.stage, video.priority)
    started_at = time.time() if video.started_at is None else video.started_at
    change(conn, video, state="in_progress", is_waiting=False, started_at=started_at)
    events.append(conn, video, "video.in_progress", {"stage": video.stage})


def _queue(conn: sa.Connection, client: DBOSClient, video: Row, stage: Stage) -> None:
    """At its other stage, where it may have been before."""
    for_batch = fair_order.is_of_batch(video.priority)
    tag = fair_order.next_tag(conn, stage, video.tenant, for_batch=for_batch)
    change(conn, video, stage=stage, is_waiting=True, priority=tag, queued_at=time.time())
    of_stage = (attempts.c.video_id == video.id) & (attempts.c.stage == stage)
    last = conn.execute(sa.select(sa.func.max(attempts.c.number)).where(of_stage)).scalar()
    fair_order.enqueue(conn, client, video.id, stage, tag, number=(last or 0) + 1)


def _refuse_removed(conn: sa.Connection, record: StageRecord) -> None:
    # On PostgreSQL the lock is on the table too, row or no row: `mark_expired` waits until this result is there.
    removal = conn.execute(
        sa.select(removals).where(removals.c.work_key == record.work_key).with_for_update(read=True)
    ).one_or_none()
    if removal is not None and (removal.removed_at is None or record.created_at.timestamp() <= removal.removed_at):
        raise ResultRemoved(record.work_key)


def _lock_open(conn: sa.Connection, attempt: Attempt) -> Row | None:
    """The video's locked row; None where the attempt is closed."""
    video = lock(conn, attempt.video.id)
    is_open = conn.execute(sa.select(attempts.c.number).where(*_is_open(attempt))).first() is not None
    return video if is_open else None


def _close(conn: sa.Connection, attempt: Attempt, outcome: Outcome, record: StageRecord | None = None) -> None:
    """A result that was found costs its video nothing."""
    values: dict[str, object] = {"outcome": outcome, "ended_at": time.time()}
    if record is not None:
        values |= {"device": record.device, "device_seconds": 0.0 if outcome == "reused" else record.device_seconds}
    conn.execute(sa.update(attempts).where(*_is_open(attempt)).values(**values))


def _is_open(attempt: Attempt) -> tuple[sa.ColumnElement[bool], ...]:
    columns = attempts.c
    return (
        columns.video_id == attempt.video.id,
        columns.stage == attempt.stage,
        columns.number == attempt.number,
        columns.outcome == "running",
    )
