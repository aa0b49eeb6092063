from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from deployments.database.acceptance import accept
from deployments.database.attempts import fail
from deployments.database.batch_records import CheckedRow, InputFault, InputRow, RowRefusal, Written
from deployments.database.batch_steps import (
    add_rows,
    begin_ending,
    collect,
    end,
    forget_batches,
    next_rows,
    refuse,
    rows_behind,
    start,
    submit,
)
from deployments.database.batches import cancel_batch
from deployments.database.files import read_file
from deployments.database.records import QueueFull
from deployments.database.videos import cancel, read
from fv_ray.artifact_store import Artifact
from tests.deployments.batches import created, now, row_video, started, submitted
from tests.deployments.videos import (
    Database,
    a_commit,
    a_result,
    a_video,
    accepted,
    begun,
    finished,
    made,
    rows,
    workflows,
)

OUTPUT = Artifact(path="f/00/out.jsonl", sha256="0" * 64, num_bytes=1, media_type="application/jsonl")


def states(database: Database) -> list[str]:
    return [row.state for row in sorted(rows(database, "batch_rows"), key=lambda row: row.line)]


def test_rows_that_are_stored_twice_are_there_once(database: Database) -> None:
    batch, found = created(database), [InputRow(line, str(line), line, 1) for line in (1, 3)]
    add_rows(database.engine, batch, found[:1])  # and its process died
    add_rows(database.engine, batch, found)
    start(database.engine, batch, 2)
    batch = now(database, batch)
    assert (batch.state, batch.num_total) == ("in_progress", 2)
    assert next_rows(database.engine, batch, 10) == found
    add_rows(database.engine, batch, [InputRow(5, "late", 5, 1)])
    refuse(database.engine, batch, [])
    assert (now(database, batch).state, len(states(database))) == ("in_progress", 2)


def test_a_file_with_faults_leaves_no_rows(database: Database) -> None:
    batch = created(database)
    add_rows(database.engine, batch, [InputRow(1, "1", 0, 1)])
    faults = [InputFault("invalid_json_line", "it is none", 2)]
    refuse(database.engine, batch, faults)
    failed = now(database, batch)
    assert (failed.state, failed.errors, states(database)) == ("failed", faults, [])
    assert failed.ended_at is not None


def test_a_row_is_one_video_whoever_submits_it(database: Database) -> None:
    batch = started(database, 5)
    checked = [CheckedRow(line, row_video(batch, line)) for line in range(1, 4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: submit(database.engine, database.client, batch, checked), range(4)))
    assert states(database) == ["open"] * 3 + ["waiting"] * 2
    assert len(rows(database, "videos")) == 3
    assert [row.line for row in next_rows(database.engine, now(database, batch), 10)] == [4, 5]


def test_a_cancelled_batch_submits_nothing(database: Database) -> None:
    batch = started(database, 1)
    cancel_batch(database.engine, "fox", batch.id)
    submit(database.engine, database.client, batch, [CheckedRow(1, row_video(batch, 1))])
    assert (states(database), rows(database, "videos")) == (["waiting"], [])


def test_a_refused_row_leaves_its_neighbours_unharmed(database: Database) -> None:
    batch = started(database, 3)
    preview = accepted(database, a_video(kind="preview"))
    gone = replace(a_commit(preview, is_of_batch=True), preview=a_result("stage_one"))
    refusal = RowRefusal(400, "invalid_value", "it is blank", "prompt")
    checked = [CheckedRow(1, refusal), CheckedRow(2, gone), CheckedRow(3, row_video(batch, 3))]
    submit(database.engine, database.client, batch, checked)
    assert states(database) == ["failed", "failed", "open"]
    assert now(database, batch).num_failed == 2
    first, second, third = rows_behind(database.engine, batch, 0, 10)
    assert (first.refusal, first.video) == (refusal, None)
    assert second.refusal is not None
    assert second.refusal.code == "video_expired"
    assert third.video is not None
    assert {row.id for row in rows(database, "videos")} == {preview.id, third.video.id}


def test_what_has_ended_is_counted_once(database: Database) -> None:
    batch = submitted(database, started(database, 4), 4, "preview")
    videos = [read(database.engine, "fox", video_id) for video_id in collect(database.engine, batch)]
    finished(database, begun(database, videos[0]))
    fail(database.engine, begun(database, videos[1]), "failed", "crash_loop", "it crashed")
    cancel(database.engine, "fox", videos[2].id)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: collect(database.engine, batch), range(4))) == [[videos[3].id]] * 4
    counted = now(database, batch)
    assert (counted.num_completed, counted.num_failed) == (1, 2)
    assert states(database) == ["completed", "failed", "failed", "open"]


def test_what_a_batch_takes_back_has_not_failed(database: Database) -> None:
    batch = submitted(database, started(database, 2), 2, "preview")
    done, waiting = collect(database.engine, batch)
    finished(database, begun(database, read(database.engine, "fox", done)))
    begin_ending(database.engine, batch, "expired")
    cancel(database.engine, "fox", waiting)
    assert collect(database.engine, batch) == []
    assert states(database) == ["completed", "withdrawn"]


def test_a_batch_ends_with_its_files_and_once(database: Database) -> None:
    batch = started(database, 1)
    begin_ending(database.engine, batch, "completed")
    batch = now(database, batch)
    for num_completed in (1, 7):
        end(database.engine, batch, Written(OUTPUT, None, num_completed, 0))
    ended = now(database, batch)
    assert (ended.state, ended.num_completed, ended.error_file_id) == ("completed", 1, None)
    assert ended.output_file_id is not None
    file = read_file(database.engine, "fox", ended.output_file_id)
    assert (file.purpose, file.artifact) == ("batch_output", OUTPUT)
    assert len(rows(database, "files")) == 2


def test_rows_wait_behind_all_that_come_in_no_batch(database: Database) -> None:
    batch = submitted(database, started(database, 3), 3)
    first, *others = collect(database.engine, batch)
    finished(database, begun(database, read(database.engine, "fox", first)))  # the clock of batches has moved
    alone = [accepted(database).id for _ in range(2)]
    in_order = [
        row["workflow_uuid"].partition("-")[0] for row in workflows(database) if row["queue_name"] == "stage_one"
    ]
    assert in_order == [*alone, first, *others]
    finished(database, begun(database, read(database.engine, "fox", alone[1])))
    stage_two = [
        row["workflow_uuid"].partition("-")[0] for row in workflows(database) if row["queue_name"] == "stage_two"
    ]
    assert stage_two == [alone[1], first]


def test_tenants_take_turns_with_their_batches(database: Database) -> None:
    submitted(database, started(database, 3, "fox"), 3)
    submitted(database, started(database, 3, "owl"), 3)
    tenants = {row.id: row.tenant for row in rows(database, "videos")}
    queued = [tenants[row["workflow_uuid"].partition("-")[0]] for row in workflows(database) if row["priority"]]
    assert queued == ["fox", "owl"] * 3


def test_rows_take_no_place_from_others(database: Database) -> None:
    submitted(database, started(database, 3), 3)
    accept(database.engine, database.client, a_video(), max_queued=1, max_queued_per_tenant=1)
    with pytest.raises(QueueFull):
        accept(database.engine, database.client, a_video(), max_queued=1, max_queued_per_tenant=1)


def test_old_batches_go_with_their_rows_and_open_ones_stay(database: Database) -> None:
    done, going = started(database, 2), started(database, 1)
    cancel_batch(database.engine, "fox", done.id)
    end(database.engine, now(database, done), Written(None, None, 0, 2))
    made(database)
    while forget_batches(database.engine, 1e12):
        pass
    assert [row.id for row in rows(database, "batches")] == [going.id]
    assert {row.batch_id for row in rows(database, "batch_rows")} == {going.id}
    assert len(rows(database, "videos")) == 1
