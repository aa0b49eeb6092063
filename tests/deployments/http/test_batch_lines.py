import asyncio
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.database.batch_records import BatchRecord, InputFault, RowRefusal
from deployments.database.records import NewVideo
from deployments.http import batch_lines
from deployments.http.batch_bodies import LineBody
from deployments.http.batch_lines import parse_line
from deployments.http.service import TENANT, Service
from tests.deployments.http.conftest import with_config
from tests.deployments.http.test_enhancing import SHORT, away, caption, enhanced_service
from tests.deployments.http.test_routes import preview
from tests.deployments.http.worker import Worker

BATCH = BatchRecord(
    id="batch_1",
    tenant=TENANT,
    endpoint="/v1/videos",
    completion_window="24h",
    metadata=None,
    output_keep_s=1,
    input_file_id="file-1",
    output_file_id=None,
    error_file_id=None,
    state="in_progress",
    outcome=None,
    errors=[],
    num_total=1,
    num_completed=0,
    num_failed=0,
    submitted_to=0,
    created_at=0,
    expires_at=1,
    in_progress_at=0,
    finalizing_at=None,
    cancelling_at=None,
    ended_at=None,
)


def new_video(service: Service, batch: BatchRecord, line: int, content: bytes) -> NewVideo | RowRefusal:
    return asyncio.run(batch_lines.new_video(service, batch, line, content))


def a_line(**changes: Any) -> bytes:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/videos", "body": {"prompt": "a fox"}}
    return json.dumps({name: value for name, value in (line | changes).items() if value is not None}).encode()


def test_a_line_is_a_request() -> None:
    parsed = parse_line(b"\xef\xbb\xbf" + a_line() + b"\r\n")
    assert parsed == LineBody(custom_id="a", method="POST", url="/v1/videos", body={"prompt": "a fox"})


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b'{"custom_id": "a"', "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (b'{"custom_id": "a", "custom_id": "b"}', "invalid_json_line", None),
        (a_line(body={"seed": float("nan")}), "invalid_json_line", None),
        (a_line(custom_id=None), "missing_required_parameter", "custom_id"),
        (a_line(custom_id=7), "invalid_custom_id", "custom_id"),
        (a_line(custom_id="x" * 513), "invalid_custom_id", "custom_id"),
        (a_line(method="GET"), "invalid_method", "method"),
        (a_line(url="/v1/chat/completions"), "invalid_url", "url"),
        (a_line(url="/v1/videos/../files"), "invalid_url", "url"),
        (a_line(body="a fox"), "invalid_body", "body"),
        (a_line(color="red"), "unknown_parameter", "color"),
    ],
)
def test_a_line_that_is_none(line: bytes, code: str, param: str | None) -> None:
    fault = parse_line(line)
    assert isinstance(fault, InputFault)
    assert (fault.code, fault.param) == (code, param)


def test_a_row_is_the_video_that_its_route_would_make(service: Service) -> None:
    body = {"prompt": "a fox", "seed": 7, "size": "192x128", "model": "flashvideo-preview"}
    new = new_video(service, BATCH, 3, a_line(body=body))
    assert not isinstance(new, RowRefusal)
    assert (new.kind, new.request.seed, new.request.stage_two.width) == ("preview", 7, 192)
    assert (new.tenant, new.is_of_batch, new.idempotency_key) == (TENANT, True, "batch/batch_1/3")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "prompt"),
        ({"prompt": " "}, 400, "prompt"),
        ({"prompt": "x" * 2001}, 400, "prompt"),
        ({"prompt": "a fox", "model": "sora-2"}, 404, "model"),
        ({"prompt": "a fox", "size": "1x1"}, 400, "size"),
        ({"prompt": "a fox", "seed": True}, 400, "seed"),
        ({"prompt": "a fox", "input_reference": {"file_id": "x"}}, 400, "input_reference"),
    ],
)
def test_a_row_is_refused_as_its_route_would_answer(
    service: Service, client: TestClient, body: dict[str, Any], status: int, param: str
) -> None:
    refusal = new_video(service, BATCH, 1, a_line(body=body))
    assert isinstance(refusal, RowRefusal)
    answered = client.post("/v1/videos", json=body)
    assert (refusal.status, refusal.param) == (status, param)
    told = {name: answered.json()["error"][name] for name in ("message", "param", "code")}
    assert (answered.status_code, told) == (
        status,
        {"message": refusal.message, "param": refusal.param, "code": refusal.code},
    )


def enhancing_line(wanted: str | None) -> bytes:
    return a_line(body={"prompt": SHORT, "seed": 7, "flashvideo": {"enhance_prompt": wanted} if wanted else {}})


@pytest.mark.parametrize("wanted", [None, "auto", "always"])
def test_a_row_is_enhanced_as_its_route_would(service: Service, wanted: str | None) -> None:
    new = new_video(enhanced_service(service), BATCH, 1, enhancing_line(wanted))
    assert not isinstance(new, RowRefusal)
    assert (new.request.prompt, new.idempotency_key) == (caption(7), "batch/batch_1/1")
    assert new.enhancement is not None
    assert new.enhancement.prompt == SHORT


def test_a_row_whose_prompt_cannot_be_enhanced_goes_on_or_is_refused_as_configured(service: Service) -> None:
    goes_on = new_video(enhanced_service(service, away), BATCH, 1, enhancing_line("auto"))
    assert not isinstance(goes_on, RowRefusal)
    assert goes_on.request.prompt == SHORT
    assert goes_on.enhancement is not None
    assert goes_on.enhancement.outcome == "unavailable"
    refused = new_video(enhanced_service(service, away, on_failure="fail"), BATCH, 1, enhancing_line("auto"))
    assert isinstance(refused, RowRefusal)
    assert (refused.status, refused.code) == (503, "enhancer_unavailable")


def test_a_row_that_wants_an_enhancer_where_there_is_none_is_refused(service: Service) -> None:
    refusal = new_video(service, BATCH, 1, enhancing_line("auto"))
    assert isinstance(refusal, RowRefusal)
    assert (refusal.code, refusal.param) == ("unsupported_parameter", "flashvideo.enhance_prompt")
    for called, line in ((service, enhancing_line(None)), (enhanced_service(service), enhancing_line("never"))):
        new = new_video(called, BATCH, 1, line)
        assert not isinstance(new, RowRefusal)
        assert (new.request.prompt, new.enhancement) == (SHORT, None)


def test_a_row_may_commit_a_preview(service: Service, client: TestClient, worker: Worker) -> None:
    made = preview(client)
    commit = a_line(url=f"/v1/videos/{made['id']}/commit", body={})
    early = new_video(service, BATCH, 1, commit)
    assert isinstance(early, RowRefusal)
    assert (early.status, early.code) == (409, "preview_not_ready")
    worker.make(made["id"])
    new = new_video(service, BATCH, 1, commit)
    assert not isinstance(new, RowRefusal)
    assert (new.kind, new.parent_id) == ("commit", made["id"])
    unknown = new_video(service, BATCH, 1, a_line(url="/v1/videos/video_0/commit", body={}))
    assert isinstance(unknown, RowRefusal)
    assert (unknown.status, unknown.code) == (404, "video_not_found")


def test_a_row_may_not_cost_too_much(service: Service, client: TestClient, worker: Worker) -> None:
    worker.make(preview(client)["id"])
    limited = with_config(service, limits={"max_device_seconds": 1})
    refusal = new_video(limited, BATCH, 1, a_line(body={"prompt": "a fox", "model": "flashvideo-preview"}))
    assert isinstance(refusal, RowRefusal)
    assert refusal.code == "too_expensive"
