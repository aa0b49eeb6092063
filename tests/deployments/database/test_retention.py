import time

import pytest

from deployments.database.attempts import begin_attempt, finish_stage
from deployments.database.records import NotThere, ResultRemoved
from deployments.database.retention import DELETED_RECORD_S, forget, mark_expired, marked_results, note_removed, sweep
from deployments.database.videos import delete, read
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
)

FOREVER = 1e12


def swept(database: Database, now: float, *, record_s: float = FOREVER, usage_s: float = FOREVER) -> list[str]:
    removed: list[str] = []
    sweep(database.engine, database.client, removed.append, record_s=record_s, usage_s=usage_s, clock=lambda: now)
    return removed


def test_results_go_when_they_have_expired_and_their_row_stays(database: Database) -> None:
    video = made(database)
    done = read(database.engine, "fox", video.id)
    assert done.preview is not None
    assert done.video is not None
    assert swept(database, time.time()) == []
    assert sorted(swept(database, time.time() + KEEP_S)) == sorted([done.preview.work_key, done.video.work_key])
    gone = read(database.engine, "fox", video.id)
    assert (gone.state, gone.preview, gone.video, gone.expires_at) == ("completed", None, None, done.expires_at)
    assert swept(database, time.time() + KEEP_S) == []


def test_a_shared_result_stays_until_the_last_video_lets_it_go(database: Database) -> None:
    preview = read(database.engine, "fox", made(database, a_video(kind="preview")).id)
    assert preview.preview is not None
    commit = accepted(database, a_commit(preview))
    delete(database.engine, "fox", preview.id)
    assert swept(database, time.time() + KEEP_S) == []
    attempt = begun(database, commit)
    assert attempt.video.preview == preview.preview
    finished(database, attempt)
    assert swept(database, time.time()) == [preview.preview.work_key]
    assert read(database.engine, "fox", commit.id).video is not None


def test_a_running_video_keeps_its_results(database: Database) -> None:
    video = accepted(database)
    finished(database, begun(database, video))
    assert swept(database, time.time() + KEEP_S) == []
    assert begun(database, video, "stage_two").video.preview is not None


def test_a_sweep_that_was_stopped_goes_on(database: Database) -> None:
    made(database)

    def stop(work_key: str) -> None:
        raise OSError(work_key)

    with pytest.raises(OSError, match="[0-9a-f]{64}"):
        sweep(database.engine, database.client, stop, record_s=0, usage_s=0, clock=lambda: time.time() + KEEP_S)
    assert len(rows(database, "videos")) == 1
    assert len(swept(database, time.time() + KEEP_S)) == 2


def test_a_result_found_while_it_is_removed_is_refused_and_made_again(database: Database) -> None:
    made(database, a_video(kind="preview", request_hash="first"))
    [old] = rows(database, "results")
    found = a_result("stage_one", old.video_id, created_at=time.time() - 10)
    attempt = begun(database, accepted(database, a_video(kind="preview")))

    def finish(created_at: float) -> None:
        result = found.model_copy(update={"created_at": a_result("stage_one", created_at=created_at).created_at})
        finish_stage(database.engine, database.client, attempt, result, "reused", keep_s=KEEP_S)

    now = time.time() + KEEP_S
    mark_expired(database.engine, now)
    assert marked_results(database.engine) == [found.work_key]
    with pytest.raises(ResultRemoved):
        finish(now + 1)  # whatever it is, its files are about to go
    note_removed(database.engine, found.work_key, now)
    with pytest.raises(ResultRemoved):
        finish(now - 1)
    assert read(database.engine, "fox", attempt.video.id).state == "in_progress"
    finish(now + 1)
    assert read(database.engine, "fox", attempt.video.id).state == "completed"
    assert swept(database, now + 2 * KEEP_S) == [found.work_key]


def test_a_result_that_was_stored_while_it_was_removed_is_refused(database: Database) -> None:
    first = made(database, a_video(kind="preview", request_hash="first"))
    attempt = begun(database, accepted(database, a_video(kind="preview")))
    times = [time.time() + KEEP_S + second for second in range(3)]
    stored = a_result("stage_one", first.id, created_at=times[1])  # between the mark and the end of the removal
    removed: list[str] = []

    def clock() -> float:
        return times[2] if removed else times[0]

    engine, client = database.engine, database.client
    sweep(engine, client, removed.append, record_s=FOREVER, usage_s=FOREVER, clock=clock)
    assert removed == [stored.work_key]
    with pytest.raises(ResultRemoved):
        finish_stage(engine, client, attempt, stored, "done", keep_s=KEEP_S)


def test_old_rows_go_and_their_usage_stays_longer(database: Database) -> None:
    ended, queued = made(database), accepted(database)
    swept(database, time.time() + KEEP_S + 1, record_s=KEEP_S, usage_s=2 * KEEP_S)
    with pytest.raises(NotThere):
        read(database.engine, "fox", ended.id)
    assert read(database.engine, "fox", queued.id) == queued
    assert {event.video_id for event in rows(database, "events")} == {queued.id}
    assert len(rows(database, "attempts")) == 2
    swept(database, time.time() + 2 * KEEP_S + 1, usage_s=2 * KEEP_S)
    assert rows(database, "attempts") == []


def test_a_row_stays_while_its_results_are_there(database: Database) -> None:
    made(database)
    assert forget(database.engine, time.time() + 1, record_s=0, usage_s=FOREVER) == 0
    assert len(rows(database, "videos")) == 1


def test_attempts_stay_while_their_video_is_tried_again(database: Database) -> None:
    video = accepted(database)
    crashed(database, begun(database, video))
    swept(database, time.time() + 2, usage_s=1)
    assert begun(database, video).number == 2


def test_a_deleted_video_lets_all_go_soon(database: Database) -> None:
    video = made(database)
    delete(database.engine, "fox", video.id)
    assert len(swept(database, time.time())) == 2
    assert len(rows(database, "videos")) == 1
    swept(database, time.time() + DELETED_RECORD_S)
    assert rows(database, "videos") == []


def test_a_deleted_video_that_still_runs_is_kept_until_it_has_ended(database: Database) -> None:
    video = accepted(database)
    begun(database, video)
    delete(database.engine, "fox", video.id)
    swept(database, time.time() + 2 * DELETED_RECORD_S)
    assert begin_attempt(database.engine, video.id, "stage_one", 1) is None
    assert [row.state for row in rows(database, "videos")] == ["failed"]
