"""Small requests and results, and the calls that tests make with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database.acceptance import accept
from deployments.database.attempts import begin_attempt, close_attempt, finish_stage
from deployments.database.records import Attempt, Kind, NewVideo, Outcome, VideoRecord
from deployments.database.tables import METADATA
from fv_ray.artifact_store import Stage, StageRecord
from fv_ray.types import StageOneSampling, StageTwoSampling, VideoRequest

KEEP_S = 1000.0


@dataclass(frozen=True)
class Database:
    url: str
    engine: sa.Engine
    client: DBOSClient


def a_request(prompt: str = "a red fox") -> VideoRequest:
    return VideoRequest(
        prompt=prompt,
        seed=2**63 - 1,
        stage_one=StageOneSampling(num_inference_steps=3, guidance_scale=6.1, num_frames=9, height=16, width=32),
        stage_two=StageTwoSampling(
            num_inference_steps=2, guidance_scale=1, height=32, width=64, shift=5, noise_level=675
        ),
    )


def a_video(tenant: str = "fox", kind: Kind = "full", **changes: Any) -> NewVideo:
    return NewVideo(
        tenant, kind, model="flashvideo", checkpoint_digest="sha256:0", **{"request": a_request(), **changes}
    )


def a_commit(parent: VideoRecord, tenant: str | None = None, **changes: Any) -> NewVideo:
    return a_video(tenant or parent.tenant, "commit", parent_id=parent.id, preview=parent.preview, **changes)


def a_result(stage: Stage, name: str = "0", created_at: float | None = None) -> StageRecord:
    at = datetime.now(UTC) if created_at is None else datetime.fromtimestamp(created_at, UTC)
    key = sha256(f"{stage}/{name}".encode()).hexdigest()
    return StageRecord(work_key=key, stage=stage, artifacts={}, device_seconds=3.5, device="cpu", created_at=at)


def accepted(database: Database, new: NewVideo | None = None, *, most: int = 10**6) -> VideoRecord:
    new = new or a_video()
    return accept(database.engine, database.client, new, max_queued=most, max_queued_per_tenant=most).video


def begun(database: Database, video: VideoRecord, stage: Stage | None = None) -> Attempt:
    """By the workflow whose turn it is."""
    stage = stage or video.stage
    ended = [
        row.number
        for row in rows(database, "attempts")
        if (row.video_id, row.stage) == (video.id, stage) and row.outcome not in {"running", "lost"}
    ]
    attempt = begin_attempt(database.engine, video.id, stage, max(ended, default=0) + 1)
    assert attempt is not None
    return attempt


def crashed(database: Database, attempt: Attempt, outcome: Outcome = "crashed", *, retry_in_s: float = 5.0) -> None:
    close_attempt(database.engine, database.client, attempt, outcome, retry_in_s=retry_in_s)


def finished(database: Database, attempt: Attempt, name: str | None = None) -> None:
    result = a_result(attempt.stage, attempt.video.id if name is None else name)
    finish_stage(database.engine, database.client, attempt, result, "done", keep_s=KEEP_S)


def made(database: Database, new: NewVideo | None = None) -> VideoRecord:
    """A video of which every stage is done, as it was accepted."""
    video = accepted(database, new)
    finished(database, begun(database, video))
    if video.kind == "full":
        finished(database, begun(database, video, "stage_two"))
    return video


def workflows(database: Database) -> list[Mapping[str, Any]]:
    """What DBOS has, first those that go first."""
    schema = "dbos." if database.engine.dialect.name == "postgresql" else ""
    with database.engine.connect() as conn:
        query = f"SELECT * FROM {schema}workflow_status ORDER BY priority, created_at"
        return [row._mapping for row in conn.exec_driver_sql(query)]


def rows(database: Database, table: str) -> list[Any]:
    with database.engine.connect() as conn:
        return list(conn.execute(sa.select(METADATA.tables[table])))


def everything(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables, to be compared."""
    ours = {table: sorted(map(repr, rows(database, table))) for table in METADATA.tables}
    return {**ours, "workflows": sorted(map(repr, workflows(database)))}
