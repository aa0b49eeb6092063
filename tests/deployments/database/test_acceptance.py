import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.database.acceptance import accept
from deployments.database.attempts import fail
from deployments.database.records import Accepted, KeyReused, NotThere, QueueFull
from deployments.database.retention import sweep
from deployments.database.videos import cancel, delete, read
from deployments.job_names import APPLICATION_VERSION, RUN_STAGE
from tests.deployments.videos import (
    Database,
    a_commit,
    a_request,
    a_video,
    accepted,
    begun,
    everything,
    made,
    rows,
    workflows,
)

ROOT = Path(__file__).parents[3]


def try_accept(database: Database, **changes: str) -> Accepted:
    return accept(database.engine, database.client, a_video(**changes), max_queued=10, max_queued_per_tenant=10)


def test_a_video_comes_with_its_event_and_its_place_in_the_queue(database: Database) -> None:
    video = accepted(database, a_video(request=a_request("naïve \\u0000 🦊 “fox”")))
    assert read(database.engine, "fox", video.id) == video
    assert (video.state, video.stage, video.is_waiting) == ("queued", "stage_one", True)
    assert video.request == a_request("naïve \\u0000 🦊 “fox”")
    assert [(event.video_id, event.number, event.type) for event in rows(database, "events")] == [
        (video.id, 1, "video.queued")
    ]
    [workflow] = workflows(database)
    told = [workflow[name] for name in ("workflow_uuid", "name", "queue_name", "status", "priority")]
    assert told == [f"{video.id}-stage_one-1", RUN_STAGE, "stage_one", "ENQUEUED", video.priority]
    assert workflow["application_version"] == APPLICATION_VERSION
    assert workflow["serialization"] == "portable_json"


def test_what_dbos_runs_is_the_video_and_its_stage(database: Database) -> None:
    video = accepted(database)
    [workflow] = database.client.list_workflows()
    assert workflow.input == {"args": (video.id, "stage_one", 1), "kwargs": {}}


def test_ids_sort_by_creation(database: Database) -> None:
    ids = [accepted(database).id for _ in range(20)]
    assert ids == sorted(ids)
    assert all(len(video_id) == len("video_") + 32 for video_id in ids)


def test_the_same_key_gives_the_first_video_even_when_the_queue_is_full(database: Database) -> None:
    new = a_video(idempotency_key="client/1", request_hash="a")
    first = accept(database.engine, database.client, new, max_queued=1, max_queued_per_tenant=1)
    again = accept(database.engine, database.client, new, max_queued=1, max_queued_per_tenant=1)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert again.video == first.video
    with pytest.raises(KeyReused):
        try_accept(database, idempotency_key="client/1", request_hash="b")
    assert not try_accept(database, tenant="owl", idempotency_key="client/1", request_hash="b").is_replay
    assert len(workflows(database)) == 2


def test_of_two_requests_at_once_with_one_key_one_makes_a_video(database: Database) -> None:
    for turn in range(10):
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(try_accept, database, idempotency_key=f"client/{turn}") for _ in range(4)]
        found = [future.result() for future in asked]
        assert len({each.video.id for each in found}) == 1
        assert sorted(each.is_replay for each in found) == [False, True, True, True]
    assert len(rows(database, "videos")) == len(rows(database, "events")) == len(workflows(database)) == 10


@pytest.mark.parametrize("end", ["fail", "cancel", "delete", "expire"])
def test_a_clients_key_stays_and_a_commits_own_is_free_again(database: Database, end: str) -> None:
    parent = read(database.engine, "fox", made(database, a_video(kind="preview")).id)
    keyed = [a_video(idempotency_key="client/1"), a_commit(parent, idempotency_key=f"commit/{parent.id}")]
    first = [made(database, new) if end == "expire" else accepted(database, new) for new in keyed]
    assert [accepted(database, new).id for new in keyed] == [video.id for video in first]
    for video in first:
        if end == "fail":
            fail(database.engine, begun(database, video), "failed", "crash_loop", "it crashed")
        elif end != "expire":
            {"cancel": cancel, "delete": delete}[end](database.engine, "fox", video.id)
    if end == "expire":
        parent = read(database.engine, "fox", made(database, a_video(kind="preview")).id)
        sweep(
            database.engine,
            database.client,
            str,
            record_s=1e9,
            usage_s=1e9,
            clock=lambda: rows(database, "results")[-1].expires_at - 1e-3,
        )
        keyed[1] = a_commit(parent, idempotency_key=keyed[1].idempotency_key)
    assert accepted(database, keyed[0]).id == first[0].id
    assert accepted(database, keyed[1]).id != first[1].id


def test_too_many_are_refused_for_a_tenant_and_for_all(database: Database) -> None:
    def limited(tenant: str) -> None:
        accept(database.engine, database.client, a_video(tenant), max_queued=3, max_queued_per_tenant=2)

    limited("fox")
    limited("fox")
    with pytest.raises(QueueFull) as caught:
        limited("fox")
    assert (caught.value.scope, caught.value.num_queued) == ("tenant", 2)
    limited("owl")
    with pytest.raises(QueueFull) as caught:
        limited("elk")
    assert (caught.value.scope, caught.value.num_queued) == ("service", 3)
    cancel(database.engine, "fox", rows(database, "videos")[0].id)
    limited("elk")


def test_a_commit_needs_a_preview_that_is_kept(database: Database) -> None:
    parent = read(database.engine, "fox", made(database, a_video(kind="preview")).id)
    assert accepted(database, a_commit(parent)).stage == "stage_two"
    before = everything(database)
    with pytest.raises(NotThere):
        accepted(database, a_commit(parent, tenant="owl"))
    delete(database.engine, "fox", parent.id)
    with pytest.raises(NotThere):
        accepted(database, a_commit(parent))
    assert len(everything(database)["videos"]) == len(before["videos"])


PROGRAM = """
import sys
from dbos import DBOSClient
from deployments.database.engine import open_engine
from tests.deployments.videos import Database, accepted
engine = open_engine(sys.argv[1])
database = Database(sys.argv[1], engine, DBOSClient(system_database_engine=engine))
while True:
    print(accepted(database).id, flush=True)
"""


def test_what_was_accepted_survives_a_kill(database: Database) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, database.url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    told = {process.stdout.readline().strip() for _ in range(20)}
    process.kill()
    told |= {line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
    process.wait()
    process.stdout.close()
    stored = {video.id for video in rows(database, "videos")}
    assert told <= stored
    assert stored == {event.video_id for event in rows(database, "events")}
    assert stored == {workflow["workflow_uuid"].partition("-")[0] for workflow in workflows(database)}
    assert all(json.loads(json.dumps(video.request))["seed"] == 2**63 - 1 for video in rows(database, "videos"))
