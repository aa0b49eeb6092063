from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_routes import create, error_of, preview
from tests.deployments.http.worker import Worker

KEY = {"idempotency-key": "order 66"}


def test_a_key_gives_the_first_video_again(client: TestClient) -> None:
    body = {"prompt": "a fox"}
    first = client.post("/v1/videos", json=body, headers=KEY)
    again = client.post("/v1/videos", files={"prompt": (None, "a fox")}, headers=KEY)
    assert again.json()["id"] == first.json()["id"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    other = client.post("/v1/videos", json={"prompt": "a hen"}, headers=KEY)
    assert error_of(other, 409)["code"] == "idempotency_key_reused"
    assert other.headers["x-should-retry"] == "false"
    remix = client.post(f"/v1/videos/{first.json()['id']}/remix", json=body, headers=KEY)
    error_of(remix, 409)


@pytest.mark.parametrize("key", ["", "x" * 256, "f\u00fcchsin", "tab\t"])
def test_a_key_is_printable_and_short(client: TestClient, key: str) -> None:
    reply = client.post("/v1/videos", json={"prompt": "a fox"}, headers={"idempotency-key": key.encode("latin-1")})
    assert error_of(reply, 400)["param"] == "Idempotency-Key"


@pytest.mark.parametrize("what", ["remix", "commit"])
@pytest.mark.parametrize("change", ["delete", "expire"])
def test_a_replay_needs_no_parent_any_more(client: TestClient, worker: Worker, what: str, change: str) -> None:
    parent = preview(client)
    worker.make(parent["id"])
    url, body = f"/v1/videos/{parent['id']}/{what}", {"prompt": "a hen"}
    first = client.post(url, json=body, headers=KEY)
    assert first.status_code == 200, first.text
    if change == "delete":
        client.delete(f"/v1/videos/{parent['id']}")
    else:
        worker.expire_all()
    again = client.post(url, json=body, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    error_of(client.post(url, json={"prompt": "a cat"}, headers=KEY), 409)


def test_a_replay_is_no_new_cost(service: Service, client: TestClient, worker: Worker) -> None:
    """A limit that was set, or a pace that was measured, after the video had been accepted."""
    body: dict[str, Any] = {"prompt": "a fox", "model": "flashvideo-preview"}
    first = client.post("/v1/videos", json=body, headers=KEY).json()
    worker.make(create(client, model="flashvideo-preview")["id"])
    limited = client_of(with_config(service, limits={"max_device_seconds": 1e-3}))
    assert error_of(limited.post("/v1/videos", json=body), 400)["code"] == "too_expensive"
    assert limited.post("/v1/videos", json=body, headers=KEY).json()["id"] == first["id"]


def test_a_commit_under_a_key_is_its_own_video(client: TestClient, worker: Worker) -> None:
    parent = preview(client)
    worker.make(parent["id"])
    url = f"/v1/videos/{parent['id']}/commit"
    keys: list[dict[str, str] | None] = [None, KEY, {"idempotency-key": "order 67"}]
    assert len({client.post(url, headers=key).json()["id"] for key in keys}) == 3
    assert client.post(url, json={}, headers=KEY).headers["idempotent-replayed"] == "true"
