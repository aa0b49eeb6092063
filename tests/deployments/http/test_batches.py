"""The official client, unmodified, with the workflow played step by step."""

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from openai.types import Batch
from starlette.testclient import TestClient

from deployments.batch_jobs import BatchJobs
from deployments.database.tables import batches
from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_batch_lines import a_line
from tests.deployments.http.test_routes import error_of
from tests.deployments.http.worker import Worker

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

PREVIEW = {"prompt": "a fox", "model": "flashvideo-preview", "seed": 7}


@pytest.fixture
def official(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def run(official: openai.OpenAI, *lines: bytes, **changes: Any) -> Batch:
    file = official.files.create(file=("rows.jsonl", b"\n".join(lines)), purpose="batch")
    options: dict[str, Any] = {"endpoint": "/v1/videos", "completion_window": "24h"} | changes
    return official.batches.create(input_file_id=file.id, **options)


def bring_on(service: Service, batch: Batch) -> None:
    """Until it waits for its videos, or has ended."""
    jobs = BatchJobs(service)
    while (wait_s := jobs.advance(batch.id)) is not None:
        if wait_s == service.config.batches.look_every_s:
            return


def lines_of(official: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in official.files.content(file_id).text.splitlines()]


def previews(*names: str) -> list[bytes]:
    return [a_line(custom_id=name, body=PREVIEW) for name in names]


def test_a_batch_from_upload_to_output(official: openai.OpenAI, service: Service, worker: Worker) -> None:
    lines = [
        *previews("first", "second"),
        a_line(custom_id="blank", body={"prompt": " "}),
        *previews("crashes"),
        a_line(custom_id="whole", body={"prompt": "a hen"}),
    ]
    batch = run(official, *lines, metadata={"of": "foxes"})
    assert (batch.status, batch.metadata, batch.endpoint) == ("validating", {"of": "foxes"}, "/v1/videos")
    assert batch.expires_at == batch.created_at + 86_400

    bring_on(service, batch)
    going = official.batches.retrieve(batch.id)
    assert going.request_counts is not None
    assert (going.status, going.request_counts.to_dict()) == ("in_progress", {"total": 5, "completed": 0, "failed": 1})
    whole, crashes, second, first = [video.id for video in official.videos.list()]
    worker.make(second)
    worker.make(first)
    worker.fail(crashes, "crash_loop", "It crashed.")
    worker.make(whole, "stage_one", "stage_two")
    bring_on(service, batch)

    done = official.batches.retrieve(batch.id)
    assert done.request_counts is not None
    assert (done.status, done.request_counts.to_dict()) == ("completed", {"total": 5, "completed": 3, "failed": 2})
    assert done.completed_at is not None
    assert done.completed_at >= done.created_at
    output = lines_of(official, done.output_file_id)
    assert [line["custom_id"] for line in output] == ["first", "second", "whole"]
    assert [line["response"]["body"]["id"] for line in output] == [first, second, whole]
    shown = official.videos.retrieve(first).to_dict()
    assert output[0]["response"]["body"] == shown
    assert (output[0]["response"]["status_code"], output[0]["error"]) == (200, None)
    blank, crashed = lines_of(official, done.error_file_id)
    assert (blank["custom_id"], blank["response"]["status_code"], blank["error"]) == ("blank", 400, None)
    assert blank["response"]["body"]["error"]["param"] == "prompt"
    assert (crashed["custom_id"], crashed["error"]["code"]) == ("crashes", "crash_loop")
    assert crashed["response"]["body"]["status"] == "failed"
    purposes = {file.id: file.purpose for file in official.files.list()}
    assert purposes[str(done.output_file_id)] == purposes[str(done.error_file_id)] == "batch_output"
    assert len({line["id"] for line in (*output, blank, crashed)}) == 5


def test_a_file_through_the_client(official: openai.OpenAI) -> None:
    keep: Any = {"anchor": "created_at", "seconds": 7200}
    first, second = (official.files.create(file=b"{}", purpose="batch", expires_after=keep) for _ in range(2))
    assert official.files.retrieve(first.id) == official.files.wait_for_processing(first.id) == first
    assert first.expires_at == first.created_at + 7200
    assert [file.id for file in official.files.list(limit=1)] == [second.id, first.id]
    assert official.files.delete(first.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        official.files.content(first.id)


def test_a_file_with_faults_fails_as_a_whole(official: openai.OpenAI, service: Service) -> None:
    one, two = previews("a", "b")
    batch = run(official, one, b"", b"{", two, one, a_line(custom_id="c", url="/v1/images"))
    bring_on(service, batch)
    failed = official.batches.retrieve(batch.id)
    assert (failed.status, failed.output_file_id, failed.error_file_id) == ("failed", None, None)
    assert failed.failed_at is not None
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert [(fault.line, fault.code) for fault in failed.errors.data] == [
        (3, "invalid_json_line"),
        (5, "duplicate_custom_id"),
        (6, "invalid_url"),
    ]
    assert official.videos.list().data == []


def test_a_cancelled_batch_keeps_what_is_done(official: openai.OpenAI, service: Service, worker: Worker) -> None:
    few = with_config(service, batches={"max_open_rows": 3})
    batch = run(official, *previews("done", "runs", "waits", "unseen"))
    bring_on(few, batch)
    waits, runs, done = [video.id for video in official.videos.list()]  # the fourth row has not been made one
    worker.make(done)
    running = worker.begin(runs)
    assert official.batches.cancel(batch.id).status == "cancelling"
    bring_on(few, batch)
    assert official.batches.retrieve(batch.id).status == "cancelling"
    cancelled = official.videos.retrieve(waits).error
    assert cancelled is not None
    assert cancelled.code == "cancelled"
    assert worker.progress(running, 10)  # it is told to stop, and has done so when it ends
    worker.finish(running)
    bring_on(few, batch)
    ended = official.batches.retrieve(batch.id)
    assert ended.status == "cancelled"
    assert ended.request_counts is not None
    assert ended.request_counts.to_dict() == {"total": 4, "completed": 2, "failed": 2}
    assert [line["custom_id"] for line in lines_of(official, ended.output_file_id)] == ["done", "runs"]
    errors = lines_of(official, ended.error_file_id)
    assert [(line["custom_id"], line["error"]["code"], line["response"]) for line in errors] == [
        ("waits", "batch_cancelled", None),
        ("unseen", "batch_cancelled", None),
    ]
    assert official.batches.cancel(batch.id).status == "cancelled"


def test_a_batch_that_is_cancelled_before_its_rows_are_known_has_no_files(
    official: openai.OpenAI, service: Service
) -> None:
    batch = run(official, *previews("a"))
    official.batches.cancel(batch.id)
    bring_on(service, batch)
    ended = official.batches.retrieve(batch.id)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("cancelled", None, None)


def test_an_expired_batch_tells_what_was_not_made(official: openai.OpenAI, service: Service, worker: Worker) -> None:
    batch = run(official, *previews("done", "waits"), completion_window="1h")
    bring_on(service, batch)
    _, done = [video.id for video in official.videos.list()]
    worker.make(done)
    with service.engine.begin() as conn:
        conn.execute(sa.update(batches).values(expires_at=time.time()))
    bring_on(service, batch)
    ended = official.batches.retrieve(batch.id)
    assert ended.status == "expired"
    assert ended.expired_at is not None
    assert [line["custom_id"] for line in lines_of(official, ended.output_file_id)] == ["done"]
    [late] = lines_of(official, ended.error_file_id)
    assert (late["custom_id"], late["error"]["code"]) == ("waits", "batch_expired")


def test_a_deleted_video_is_told_as_such(official: openai.OpenAI, service: Service) -> None:
    batch = run(official, *previews("a", "b"))
    bring_on(service, batch)
    for video in official.videos.list():
        official.videos.delete(video.id)
    bring_on(service, batch)
    ended = official.batches.retrieve(batch.id)
    errors = lines_of(official, ended.error_file_id)
    assert (ended.status, [line["error"]["code"] for line in errors]) == ("completed", ["cancelled"] * 2)


def test_an_input_file_that_is_damaged_fails_the_batch(
    official: openai.OpenAI, service: Service, tmp_path: Any
) -> None:
    batch = run(official, *previews("a"))
    [stored] = (tmp_path / "artifacts" / "f").rglob("*.jsonl")
    stored.write_bytes(stored.read_bytes().replace(b"fox", b"hen"))
    bring_on(service, batch)
    failed = official.batches.retrieve(batch.id)
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert (failed.status, failed.errors.data[0].code) == ("failed", "file_damaged")


def test_all_pages_of_batches_are_listed(official: openai.OpenAI) -> None:
    ids = [run(official, *previews("a")).id for _ in range(3)]
    assert [batch.id for batch in official.batches.list(limit=2)] == ids[::-1]


def test_what_is_no_batch_is_told(client: TestClient, service: Service) -> None:
    body = {"input_file_id": "file-0", "endpoint": "/v1/videos", "completion_window": "24h"}
    assert error_of(client.post("/v1/batches", json=body), 400)["param"] == "input_file_id"
    for changes in ({"endpoint": "/v1/responses"}, {"completion_window": "soon"}, {"metadata": {"a": "x" * 513}}):
        assert error_of(client.post("/v1/batches", json=body | changes), 400)["param"].split(".")[0] in changes
    assert error_of(client.get("/v1/batches/batch_0"), 404)["code"] == "batch_not_found"
    assert error_of(client.post("/v1/batches/batch_0/cancel"), 404)["code"] == "batch_not_found"
    assert error_of(client.get("/v1/batches?after=batch_0"), 400)["param"] == "after"

    limited = client_of(with_config(service, batches={"max_open_batches": 1}))
    file = limited.post("/v1/files", files={"file": ("a", b"{}")}, data={"purpose": "batch"}).json()
    keyed = {"headers": {"idempotency-key": "1"}, "json": body | {"input_file_id": file["id"]}}
    first = limited.post("/v1/batches", **keyed)  # type: ignore[arg-type]
    assert limited.post("/v1/batches", **keyed).json() == first.json()  # type: ignore[arg-type]
    reply = limited.post("/v1/batches", json=keyed["json"])
    assert error_of(reply, 429)["code"] == "rate_limit_exceeded"
    assert reply.headers["retry-after"] == "60"
