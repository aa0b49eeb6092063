import logging
import re

import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_routes import create


def test_a_request_is_one_line_without_what_the_client_said(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(with_config(service, api_key="fv_secret"))
    client.headers["authorization"] = "Bearer fv_secret"
    caplog.set_level(logging.INFO, logger="ray.serve")  # as Serve has it, which writes down what reaches it
    monkeypatch.setattr(logging.getLogger("ray.serve"), "handlers", [caplog.handler])
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", False)
    video = create(client, prompt="a shy fox")
    caplog.clear()
    reply = client.get(f"/v1/videos/{video['id']}?shy=fox", headers={"authorization": "Bearer fv_wrong\x7f"})
    assert reply.status_code == 401
    reply = client.get(f"/v1/videos/{video['id']}?shy=fox")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert re.fullmatch(rf"GET /v1/videos/{{video_id}} 200 \d+ ms {reply.headers['x-request-id']}", lines[1])
    assert re.fullmatch(r"GET unknown 401 \d+ ms req_\w+", lines[0])


def test_each_reply_has_its_own_id(client: TestClient) -> None:
    ids = {client.get(path).headers["x-request-id"] for path in ("/healthz", "/nowhere", "/v1/videos", "/v1/videos")}
    assert len(ids) == 4
