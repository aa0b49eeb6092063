"""Who goes next at a stage: start-time fair queueing (Goyal et al. 1996), written as priorities of DBOS' queue.

A video's tag is one more than its tenant's last waiting one, and than the largest that has started: a tenant with
thousands of waiting videos delays another's new one by one video. Two accepted at the same moment may share a tag.

The rows of batches have turns of their own behind all others: their tags begin above theirs.
"""

from __future__ import annotations

import sqlalchemy as sa
from dbos import DBOSClient, EnqueueOptions, WorkflowSerializationFormat

from deployments.database.tables import clocks, videos
from deployments.job_names import APPLICATION_VERSION, RUN_STAGE, workflow_id
from fv_ray.artifact_store import Stage

MAX_TAG = 2**31 - 1  # DBOS' lowest priority; 0 stands for none and goes first
MAX_INTERACTIVE_TAG = 2**30
"""Whatever is above it is a batch's row."""


def is_of_batch(tag: int) -> bool:
    """Whether it is the tag of a batch's row."""
    return tag > MAX_INTERACTIVE_TAG


def next_tag(conn: sa.Connection, stage: Stage, tenant: str, *, for_batch: bool) -> int:
    """The priority of a tenant's new video at a stage."""
    tag = videos.c.priority
    least, most = (MAX_INTERACTIVE_TAG, MAX_TAG) if for_batch else (0, MAX_INTERACTIVE_TAG)
    clock = sa.select(clocks.c.tag).where(clocks.c.stage == _clock(stage, for_batch=for_batch))
    of_tenant = (videos.c.tenant == tenant) & (videos.c.stage == stage)
    waiting = sa.select(sa.func.max(tag)).where(videos.c.is_waiting, of_tenant, tag > least, tag <= most)
    started, last = conn.execute(sa.select(clock.scalar_subquery(), waiting.scalar_subquery())).one()
    return min(max(started, last or 0, least) + 1, most)


def advance_clock(conn: sa.Connection, stage: Stage, tag: int) -> None:
    """Note that a video has started."""
    clock = _clock(stage, for_batch=is_of_batch(tag))
    conn.execute(sa.update(clocks).where(clocks.c.stage == clock, clocks.c.tag < tag).values(tag=tag))


def _clock(stage: Stage, *, for_batch: bool) -> str:
    return f"{stage}_batch" if for_batch else stage


def enqueue(
    conn: sa.Connection,
    client: DBOSClient,
    video_id: str,
    stage: Stage,
    tag: int,
    *,
    number: int = 1,
    delay_s: float | None = None,
) -> None:
    """Put a try into its stage's queue, in the caller's transaction: the one whose first attempt has that number.

    One that is delayed is no candidate before its time, and keeps its tag.
    """
    options = EnqueueOptions(
        workflow_name=RUN_STAGE,
        queue_name=stage,
        workflow_id=workflow_id(video_id, stage, number),
        priority=tag,
        app_version=APPLICATION_VERSION,
        serialization_type=WorkflowSerializationFormat.PORTABLE,
    )
    if delay_s is not None:
        options["delay_seconds"] = delay_s
    client.enqueue_in_transaction(conn, options, video_id, stage, number)
