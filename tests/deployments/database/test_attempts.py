import time

import pytest

from deployments.database.attempts import (
    begin_attempt,
    cancel_requested,
    fail,
    finish_stage,
    record_progress,
    remake_preview,
)
from deployments.database.events import events_after
from deployments.database.records import Outcome
from deployments.database.videos import cancel, delete, read
from tests.deployments.videos import (
    KEEP_S,
    Database,
    a_commit,
    a_result,
    a_video,
    accepted,
    begun,
    crashed,
    finished,
    made,
    rows,
    workflows,
)


def event_types(database: Database, video_id: str) -> list[str]:
    return [event.type for event in events_after(database.engine, "fox", video_id, 0)]


def outcomes(database: Database) -> list[tuple[int, str, float | None]]:
    return [(row.number, row.outcome, row.device_seconds) for row in rows(database, "attempts")]


def test_a_full_video_waits_for_stage_two_and_is_completed(database: Database) -> None:
    video = accepted(database)
    finished(database, begun(database, video))
    between = read(database.engine, "fox", video.id)
    assert (between.state, between.stage, between.is_waiting) == ("in_progress", "stage_two", True)
    second = next(row for row in workflows(database) if row["workflow_uuid"] == f"{video.id}-stage_two-1")
    assert (second["queue_name"], second["status"], second["priority"]) == ("stage_two", "ENQUEUED", between.priority)
    assert begin_attempt(database.engine, video.id, "stage_one", 1) is None
    finished(database, begun(database, video, "stage_two"))
    done = read(database.engine, "fox", video.id)
    assert (done.state, done.progress, done.is_waiting) == ("completed", 100, False)
    assert done.preview is not None
    assert done.video is not None
    assert done.expires_at == pytest.approx(done.completed_at + KEEP_S, abs=60)  # type: ignore[operator]
    assert begin_attempt(database.engine, video.id, "stage_two", 1) is None
    assert event_types(database, video.id) == [
        "video.queued",
        "video.in_progress",
        "video.preview_ready",
        "video.in_progress",
        "video.completed",
    ]


def test_a_preview_and_its_commit_take_one_stage_each(database: Database) -> None:
    preview = read(database.engine, "fox", made(database, a_video(kind="preview")).id)
    assert (preview.state, preview.video) == ("completed", None)
    commit = read(database.engine, "fox", made(database, a_commit(preview)).id)
    assert (commit.state, commit.preview) == ("completed", preview.preview)
    assert commit.video is not None
    assert len(workflows(database)) == 2


def test_progress_never_falls_and_reaches_100_only_when_completed(database: Database) -> None:
    attempt = begun(database, accepted(database, a_video(kind="preview")))
    seen = []
    for percent in (5, 40, 10, 40, 250):
        assert not record_progress(database.engine, attempt, percent, {"phase": "denoise"})
        seen.append(read(database.engine, "fox", attempt.video.id).progress)
    assert seen == [5, 40, 40, 40, 99]
    told = [event.data for event in events_after(database.engine, "fox", attempt.video.id, 2)]
    assert told == [{"phase": "denoise", "stage": "stage_one", "progress": percent} for percent in (5, 40, 99)]


@pytest.mark.parametrize(
    ("ended", "num_counted"),
    [("crashed", 1), ("stalled", 1), ("failed", 1), ("drained", 0), ("refused", 0), ("lost", 0)],
)
def test_some_outcomes_count_against_a_video(database: Database, ended: Outcome, num_counted: int) -> None:
    video = accepted(database)
    crashed(database, begun(database, video), ended)
    again = begun(database, video)
    assert (again.number, again.num_counted) == (2, num_counted)


def test_an_attempt_that_was_taken_over_changes_nothing(database: Database) -> None:
    video = accepted(database)
    old = begun(database, video)
    new = begun(database, video)
    assert outcomes(database) == [(1, "lost", None), (2, "running", None)]
    assert record_progress(database.engine, old, 50, {})
    finished(database, old)
    crashed(database, old)
    fail(database.engine, old, "failed", "crash_loop", "it crashed")
    assert read(database.engine, "fox", video.id) == new.video
    finished(database, new)
    assert outcomes(database) == [(1, "lost", None), (2, "done", 3.5)]


def test_the_next_try_waits_in_the_queue_and_is_one(database: Database) -> None:
    video = accepted(database)
    begun(database, video)
    attempt = begun(database, video)  # the first one was lost
    before = time.time()
    crashed(database, attempt, retry_in_s=300)
    crashed(database, attempt, retry_in_s=300)
    [first, again] = sorted(workflows(database), key=lambda row: row["workflow_uuid"])
    assert (again["workflow_uuid"], again["queue_name"]) == (f"{video.id}-stage_one-3", "stage_one")
    assert (again["status"], again["priority"]) == ("DELAYED", first["priority"])
    assert again["delay_until_epoch_ms"] / 1000 == pytest.approx(before + 300, abs=60)
    by_id = {told.workflow_id: told.input["args"] for told in database.client.list_workflows()}  # type: ignore[index]
    assert by_id[again["workflow_uuid"]] == (video.id, "stage_one", 3)


def test_a_full_video_goes_back_to_stage_one_for_its_preview(database: Database) -> None:
    video = accepted(database)
    finished(database, begun(database, video))
    damaged = begun(database, video, "stage_two")
    remake_preview(database.engine, database.client, damaged)
    remake_preview(database.engine, database.client, damaged)
    again = read(database.engine, "fox", video.id)
    assert (again.stage, again.is_waiting, again.preview) == ("stage_one", True, damaged.video.preview)
    assert begin_attempt(database.engine, video.id, "stage_one", 1) is None  # the first one has done its part
    finished(database, begun(database, video, "stage_one"), "mended")
    mended = begun(database, video, "stage_two")
    assert (mended.number, mended.num_counted) == (2, 1)
    assert mended.video.preview == a_result("stage_one", "mended", mended.video.preview.created_at.timestamp())  # type: ignore[union-attr]
    finished(database, mended)
    assert read(database.engine, "fox", video.id).state == "completed"
    ids = {workflow["workflow_uuid"].removeprefix(video.id) for workflow in workflows(database)}
    assert ids == {"-stage_one-1", "-stage_two-1", "-stage_one-2", "-stage_two-2"}


def test_a_workflow_that_has_done_its_part_begins_nothing_more(database: Database) -> None:
    """It runs again where its orchestrator died before DBOS knew of its end."""
    video = accepted(database)
    crashed(database, begun(database, video))
    assert begin_attempt(database.engine, video.id, "stage_one", 1) is None
    begun(database, video)
    assert begin_attempt(database.engine, video.id, "stage_one", 1) is None
    assert outcomes(database) == [(1, "crashed", None), (2, "running", None)]


def test_a_result_that_was_found_costs_nothing(database: Database) -> None:
    attempt = begun(database, accepted(database))
    finish_stage(database.engine, database.client, attempt, a_result("stage_one"), "reused", keep_s=KEEP_S)
    assert outcomes(database) == [(1, "reused", 0.0)]


def test_a_running_video_that_was_cancelled_ends_when_it_is_told_to(database: Database) -> None:
    running, other = begun(database, accepted(database)), begun(database, accepted(database))
    delete(database.engine, "fox", running.video.id)
    both = [running.video.id, other.video.id]
    assert cancel_requested(database.engine, both) == {running.video.id}
    assert cancel_requested(database.engine, []) == set()
    assert record_progress(database.engine, running, 10, {})
    fail(database.engine, running, "cancelled", "cancelled", "as asked")
    assert [video.state for video in rows(database, "videos") if video.id == running.video.id] == ["failed"]


def test_a_result_that_wins_against_a_cancel_counts(database: Database) -> None:
    attempt = begun(database, accepted(database, a_video(kind="preview")))
    cancel(database.engine, "fox", attempt.video.id)
    finished(database, attempt)
    fail(database.engine, attempt, "cancelled", "cancelled", "too late")
    assert read(database.engine, "fox", attempt.video.id).state == "completed"


def test_a_full_video_is_cancelled_between_its_stages(database: Database) -> None:
    asked = begun(database, accepted(database))
    cancel(database.engine, "fox", asked.video.id)
    finished(database, asked)
    waiting = begun(database, accepted(database))
    finished(database, waiting)
    cancel(database.engine, "fox", waiting.video.id)
    for attempt in (asked, waiting):
        ended = read(database.engine, "fox", attempt.video.id)
        assert (ended.state, ended.error_code, ended.is_waiting) == ("failed", "cancelled", False)
        assert ended.preview is not None
        assert begin_attempt(database.engine, ended.id, "stage_two", 1) is None


def test_a_cancel_between_two_attempts_ends_the_video_at_once(database: Database) -> None:
    video = accepted(database)
    crashed(database, begun(database, video))
    assert cancel(database.engine, "fox", video.id).state == "failed"


def test_a_cancel_that_a_dead_orchestrator_missed_is_kept(database: Database) -> None:
    video = accepted(database)
    begun(database, video)
    cancel(database.engine, "fox", video.id)
    assert begin_attempt(database.engine, video.id, "stage_one", 1) is None
    assert read(database.engine, "fox", video.id).error_code == "cancelled"


def test_what_any_exception_says_can_be_stored(database: Database) -> None:
    attempt = begun(database, accepted(database))
    fail(database.engine, attempt, "failed", "crash_loop", "NUL \x00, half a pair \ud83e, " + "long " * 1000)
    message = read(database.engine, "fox", attempt.video.id).error_message
    assert message is not None
    assert message.startswith("NUL , half a pair ?, long")
    assert len(message) == 2000


def test_only_a_known_video_begins(database: Database) -> None:
    assert begin_attempt(database.engine, "video_0", "stage_one", 1) is None
