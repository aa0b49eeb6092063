import json
import time
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import served, with_config
from tests.deployments.http.test_routes import create, error_of, preview
from tests.deployments.http.worker import Worker

PATIENCE_S = 120


def follow(client: TestClient, video_id: str, last: int | None = None) -> list[dict[str, Any]]:
    """All events of a video that has ended: the stream ends by itself."""
    headers = {} if last is None else {"last-event-id": str(last)}
    reply = client.get(f"/v1/videos/{video_id}/events", headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    blocks = [block for block in reply.text.replace("\r\n", "\n").split("\n\n") if "data:" in block]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]  # type: ignore[misc]


@pytest.fixture
def ended(client: TestClient, worker: Worker) -> str:
    video: str = preview(client)["id"]
    attempt = worker.begin(video)
    for percent in (10, 55, 200):
        worker.progress(attempt, percent)
    worker.finish(attempt)
    return video


def test_a_video_s_events_are_told_in_order_to_the_last(client: TestClient, ended: str) -> None:
    events = follow(client, ended)
    assert [event["event"] for event in events] == [
        "video.queued",
        "video.in_progress",
        "video.progress",
        "video.progress",
        "video.progress",
        "video.completed",
    ]
    assert [int(event["id"]) for event in events] == [1, 2, 3, 4, 5, 6]
    told = [json.loads(event["data"]) for event in events]
    assert [data["progress"] for data in told[2:]] == [10, 55, 99, 100]
    assert told[2]["stage"] == "stage_one"
    assert "a red fox" not in json.dumps(events)


def test_a_client_goes_on_behind_the_last_event_that_it_saw(client: TestClient, ended: str) -> None:
    assert [int(event["id"]) for event in follow(client, ended, last=4)] == [5, 6]
    assert client.get(f"/v1/videos/{ended}/events", headers={"last-event-id": "6"}).status_code == 204


def test_a_cancelled_video_s_stream_ends(client: TestClient) -> None:
    video = create(client)
    client.post(f"/v1/videos/{video['id']}/cancel")
    last = follow(client, video["id"])[-1]
    assert last["event"] == "video.failed"
    assert json.loads(last["data"])["error"]["code"] == "cancelled"


def test_streams_leave_room_for_other_requests(service: Service, worker: Worker) -> None:
    with (
        served(with_config(service, limits={"max_event_streams": 2})) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
    ):
        video = client.post("/v1/videos", json={"prompt": "a fox"}).json()["id"]
        path = f"/v1/videos/{video}/events"
        with client.stream("GET", path) as first, client.stream("GET", path) as second:
            lines = [stream.iter_lines() for stream in (first, second)]  # kept: httpx closes with its iterator
            assert all(next(each).startswith("id: 1") for each in lines)
            refused = client.get(path)
            assert error_of(refused, 503)["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) > 0
        worker.make(video, "stage_one", "stage_two")  # and those whose clients have gone are counted no more
        deadline = time.monotonic() + PATIENCE_S
        while (reply := client.get(path)).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "video.completed" in reply.text


@pytest.mark.parametrize("last", ["-1", "x", "1e9", "99999999999"])
def test_a_wrong_event_id_is_refused(client: TestClient, ended: str, last: str) -> None:
    reply = client.get(f"/v1/videos/{ended}/events", headers={"last-event-id": last})
    assert error_of(reply, 400)["param"] == "Last-Event-ID"
