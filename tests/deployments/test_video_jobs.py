"""Real workflows on a real database, with real stages or ones that misbehave on purpose."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS

from deployments.config import AppConfig, StageConfig
from deployments.database.records import VideoRecord
from deployments.database.retention import WORKFLOW_S, forget_workflows
from deployments.database.videos import cancel, read
from deployments.job_names import workflow_id
from deployments.orchestrator import launch_jobs
from deployments.stage_one import StageOneReplica
from deployments.stage_stream import StageCall
from deployments.stage_two import StageTwoReplica
from deployments.stage_work import Done, StageWork, Step
from fv_ray.artifact_store import StageRecord
from fv_ray.types import VideoRequest
from tests.deployments.videos import Database, a_commit, a_video, accepted, rows, workflows

Running = Callable[..., Database]


@pytest.fixture
def run_jobs(sqlite_template: Path, tmp_path: Path) -> Iterator[Running]:
    """Start an orchestrator's jobs on the stages that are given."""
    shutil.copy(sqlite_template, tmp_path / "videos.sqlite")

    def run(
        stage_one: StageCall,
        stage_two: StageCall | None = None,
        *,
        stall_s: float = 60.0,
        rank: int = 0,
        first_retry_s: float = 0.01,
    ) -> Database:
        stage = StageConfig(stall_s=stall_s)
        config = AppConfig(
            database_url=f"sqlite:///{tmp_path}/videos.sqlite",
            storage_url=str(tmp_path / "artifacts"),
            stage_one=stage,
            stage_two=stage,
            first_retry_s=first_retry_s,
        )
        jobs = launch_jobs(config, {"stage_one": stage_one, "stage_two": stage_two or stage_one}, rank)
        return Database(config.database_url, jobs.engine, jobs.client)

    yield run
    DBOS.destroy(destroy_registry=True)


def until(database: Database, video: VideoRecord, *states: str, seconds: float = 100.0) -> VideoRecord:
    deadline = time.monotonic() + seconds
    while (now := read(database.engine, video.tenant, video.id)).state not in states:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def outcomes(database: Database) -> list[str]:
    return [attempt.outcome for attempt in sorted(rows(database, "attempts"), key=lambda row: row.number)]


def result(work: StageWork) -> Done:
    key = sha256(work.video_id.encode()).hexdigest()
    record = StageRecord(
        work_key=key, stage=work.stage, artifacts={}, device_seconds=1, device="cpu", created_at=datetime.now(UTC)
    )
    return Done(record=record, is_reused=False)


class Script:
    """A stage that does at each attempt what it is told: raise, hang, or make the result."""

    def __init__(self, *attempts: Any) -> None:
        self._attempts, self.num_closed = list(attempts), 0

    async def __call__(self, work: StageWork) -> AsyncGenerator[Step | Done, None]:
        told = self._attempts.pop(0)
        try:
            yield Step(phase="denoise", step=1, num_steps=2, progress=0.5)
            if isinstance(told, Exception):
                raise told
            if told == "hang":
                await asyncio.sleep(3600)
            yield result(work)
        finally:
            self.num_closed += 1


def test_a_preview_and_its_commit_are_the_bits_of_a_video_in_one_go(
    run_jobs: Running, small_checkpoint: Path, request_: VideoRequest, tmp_path: Path
) -> None:
    storage = str(tmp_path / "artifacts")
    first = StageOneReplica(small_checkpoint, storage, StageConfig())
    second = StageTwoReplica(small_checkpoint, storage, StageConfig())
    database = run_jobs(first.run, second.run)

    whole = until(database, accepted(database, a_video("one", request=request_)), "completed", "failed")
    preview = until(database, accepted(database, a_video("two", "preview", request=request_)), "completed", "failed")
    assert set(preview.preview.artifacts) >= {"preview.mp4", "preview.safetensors", "preview_sheet.webp"}
    commit = until(database, accepted(database, a_commit(preview, request=request_)), "completed", "failed")

    assert commit.video.work_key != whole.video.work_key  # of other tenants: made anew
    for name in ("video.mp4", "video_sheet.webp"):
        assert commit.video.artifacts[name].sha256 == whole.video.artifacts[name].sha256
    assert {attempt.outcome for attempt in rows(database, "attempts")} == {"done"}
    told = [event.data["progress"] for event in rows(database, "events") if event.type == "video.progress"]
    assert max(told) <= 99

    again = until(database, accepted(database, a_video("one", request=request_)), "completed", "failed")
    assert again.video == whole.video
    reused = [attempt for attempt in rows(database, "attempts") if attempt.video_id == again.id]
    assert [(attempt.outcome, attempt.device_seconds) for attempt in reused] == [("reused", 0.0)] * 2


def test_a_damaged_preview_is_made_again(
    run_jobs: Running, small_checkpoint: Path, request_: VideoRequest, tmp_path: Path
) -> None:
    storage = str(tmp_path / "artifacts")
    first = StageOneReplica(small_checkpoint, storage, StageConfig())
    second = StageTwoReplica(small_checkpoint, storage, StageConfig())
    harms = [True, False]  # at each run of stage two

    def refine(work: StageWork) -> AsyncGenerator[Step | Done, None]:
        if harms.pop(0):
            assert work.preview is not None
            (tmp_path / "artifacts" / work.preview.artifacts["preview.safetensors"].path).unlink()
        return second.run(work)

    database = run_jobs(first.run, refine)
    whole = until(database, accepted(database, a_video(request=request_)), "completed", "failed")
    assert whole.state == "completed"
    assert [(row.stage, row.outcome) for row in sorted(rows(database, "attempts"), key=lambda row: row.started_at)] == [
        ("stage_one", "done"),
        ("stage_two", "failed"),
        ("stage_one", "done"),
        ("stage_two", "done"),
    ]

    harms += [True, False]
    preview = until(database, accepted(database, a_video("owl", "preview", request=request_)), "completed")
    lost = until(database, accepted(database, a_commit(preview, request=request_)), "completed", "failed")
    assert (lost.state, lost.error_code) == ("failed", "artifact_damaged")
    until(database, accepted(database, a_video("owl", "preview", request=request_)), "completed")  # as the error says
    commit = until(database, accepted(database, a_commit(preview, request=request_)), "completed", "failed")
    assert commit.video.artifacts["video.mp4"].sha256 == whole.video.artifacts["video.mp4"].sha256


def test_a_request_that_spoils_three_attempts_fails(run_jobs: Running) -> None:
    script = Script(*[ZeroDivisionError()] * 3, None)
    database = run_jobs(script)
    video = until(database, accepted(database), "failed", "completed")
    assert (video.state, video.error_code) == ("failed", "crash_loop")
    assert outcomes(database) == ["failed"] * 3


def test_a_stage_that_hangs_is_left_and_tried_again(run_jobs: Running) -> None:
    script = Script("hang", None)
    database = run_jobs(script, stall_s=0.2)
    until(database, accepted(database, a_video(kind="preview")), "completed")
    assert outcomes(database) == ["stalled", "done"]
    assert script.num_closed == 2


def test_a_running_video_is_cancelled(run_jobs: Running) -> None:
    script = Script("hang")
    database = run_jobs(script)
    video = accepted(database)
    until(database, video, "in_progress")
    cancel(database.engine, video.tenant, video.id)
    assert until(database, video, "failed").error_code == "cancelled"
    assert script.num_closed == 1


def test_what_waits_for_its_next_try_keeps_no_place(run_jobs: Running) -> None:
    database = run_jobs(Script(*[ZeroDivisionError()] * 2, None, None), first_retry_s=300)
    waiting, cancelled = (accepted(database, a_video(kind="preview")) for _ in range(2))  # as many as there are places
    while outcomes(database) != ["failed"] * 2:
        time.sleep(0.05)
    until(database, accepted(database, a_video(kind="preview")), "completed")

    assert cancel(database.engine, cancelled.tenant, cancelled.id).state == "failed"
    DBOS.destroy(destroy_registry=True)
    database = run_jobs(Script(None), rank=1)  # whoever comes takes it up
    for video in (cancelled, waiting):
        database.client.set_workflow_delay(workflow_id(video.id, "stage_one", 2), delay_seconds=0)
    until(database, waiting, "completed")
    assert database.client.retrieve_workflow(workflow_id(cancelled.id, "stage_one", 2)).get_result() is None
    assert sorted(row.outcome for row in rows(database, "attempts")) == ["done", "done", "failed", "failed"]


def test_dbos_forgets_what_has_ended_long_ago(run_jobs: Running) -> None:
    database = run_jobs(Script(None, ZeroDivisionError(), "hang"), first_retry_s=300)
    for _ in ("done", "waiting"):
        first = workflow_id(accepted(database, a_video(kind="preview")).id, "stage_one", 1)
        database.client.retrieve_workflow(first).get_result()
    next_try = first.removesuffix("1") + "2"
    running = workflow_id(accepted(database, a_video(kind="preview")).id, "stage_one", 1)
    while sorted(outcomes(database)) != ["done", "failed", "running"]:
        time.sleep(0.05)
    assert forget_workflows(database.client, time.time()) == 0
    assert forget_workflows(database.client, time.time() + 2 * WORKFLOW_S) == 2
    left = {row["workflow_uuid"] for row in workflows(database)}
    assert left == {running, next_try}
    with database.engine.connect() as conn:
        assert set(conn.exec_driver_sql("SELECT workflow_uuid FROM workflow_input").scalars()) == left


@pytest.mark.parametrize("rank", [0, 1], ids=["of its rank", "of a rank that there is no more"])
def test_an_orchestrator_takes_up_what_another_left(run_jobs: Running, rank: int) -> None:
    database = run_jobs(Script(ZeroDivisionError(), "hang"), rank=rank)
    video = accepted(database, a_video(kind="preview"))
    while outcomes(database) != ["failed", "running"]:
        time.sleep(0.05)
    DBOS.destroy(destroy_registry=True)
    database = run_jobs(Script(None))
    until(database, video, "completed")
    assert outcomes(database) == ["failed", "lost", "done"]
