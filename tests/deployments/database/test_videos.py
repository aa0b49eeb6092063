import pytest

from deployments.database.attempts import fail
from deployments.database.records import NotThere, StageLoad
from deployments.database.videos import cancel, check, delete, list_videos, queue_position, read, stage_load
from tests.deployments.videos import Database, a_video, accepted, begun, finished, made, rows


def test_a_tenant_sees_its_own_videos_alone(database: Database) -> None:
    video = accepted(database)
    for ask in (read, cancel, delete):
        with pytest.raises(NotThere):
            ask(database.engine, "owl", video.id)
    assert list_videos(database.engine, "owl", after=None, limit=9, order="asc").videos == []
    assert read(database.engine, "fox", video.id) == video


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_give_each_video_once_while_some_are_deleted(database: Database, order: str) -> None:
    ids = [accepted(database).id for _ in range(7)]
    if order == "desc":
        ids.reverse()
    seen: list[str] = []
    has_more, after = True, None
    while has_more:
        page = list_videos(database.engine, "fox", after=after, limit=3, order=order)  # type: ignore[arg-type]
        seen += [video.id for video in page.videos]
        has_more, after = page.has_more, seen[-1]
        if len(seen) == 3:
            delete(database.engine, "fox", seen[-1])
            delete(database.engine, "fox", ids[-1])
    assert seen == ids[:-1]
    with pytest.raises(NotThere):
        list_videos(database.engine, "owl", after=ids[0], limit=3, order="asc")


def test_a_queued_video_is_cancelled_at_once_and_a_running_one_is_asked(database: Database) -> None:
    queued, running = accepted(database), accepted(database)
    begun(database, running)
    ended = cancel(database.engine, "fox", queued.id)
    assert (ended.state, ended.error_code, ended.is_waiting) == ("failed", "cancelled", False)
    asked = cancel(database.engine, "fox", running.id)
    assert (asked.state, asked.cancel_requested) == ("in_progress", True)


def test_a_finished_video_stays_as_it_is(database: Database) -> None:
    completed, failed = made(database), accepted(database)
    fail(database.engine, begun(database, failed), "failed", "crash_loop", "it crashed")
    for video in (completed, failed):
        before = read(database.engine, "fox", video.id)
        assert cancel(database.engine, "fox", video.id) == before


def test_a_deleted_video_is_gone_for_its_tenant(database: Database) -> None:
    video = accepted(database)
    assert delete(database.engine, "fox", video.id).deleted_at is not None
    for ask in (read, cancel, delete):
        with pytest.raises(NotThere):
            ask(database.engine, "fox", video.id)


def test_positions_count_those_that_go_first(database: Database) -> None:
    foxes = [accepted(database) for _ in range(3)]
    owl = accepted(database, a_video("owl"))
    assert [queue_position(database.engine, video) for video in (*foxes, owl)] == [0, 2, 3, 1]
    begun(database, foxes[0])
    assert queue_position(database.engine, read(database.engine, "fox", foxes[0].id)) is None
    assert queue_position(database.engine, owl) == 0


def test_a_load_tells_who_waits_who_runs_and_how_long_it_takes(database: Database) -> None:
    assert stage_load(database.engine, "stage_one") == StageLoad(0, 0, None)
    finished(database, begun(database, accepted(database)))
    begun(database, accepted(database))
    accepted(database)
    assert stage_load(database.engine, "stage_one") == StageLoad(1, 1, 3.5)
    assert stage_load(database.engine, "stage_two") == StageLoad(1, 0, None)


def test_a_readiness_check_writes(database: Database) -> None:
    check(database.engine)
    assert rows(database, "probes")[0].at > 0
