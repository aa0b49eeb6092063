import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.test_routes import create, error_of


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/v1/videos/", 404, "unknown_url"),
        ("PUT", "/v1/videos", 405, "method_not_allowed"),
        ("TRACE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/openapi.json", 405, "method_not_allowed"),
        ("GET", "/v1/models/sora-2", 404, "model_not_found"),
    ],
)
def test_what_the_router_refuses_is_in_the_envelope(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    reply = client.request(method, path)
    assert error_of(reply, status)["code"] == code
    assert reply.headers["x-request-id"].startswith("req_")
    if status == 405:
        assert reply.headers["allow"] == {"/v1/videos": "GET, POST"}.get(path, "GET")


NO_BODIES = [
    ("application/json", b"", 400),
    ("application/json", b"null", 400),
    ("application/json", b'"\xff"', 400),
    ("application/json", b"[" * 10_000, 400),
    ("application/json", b'{"prompt": "a", "prompt": "b"}', 400),
    ("application/json", b'{"prompt": "a", "seed": NaN}', 400),
    ("application/json", b'{"prompt": "a\\u0000"}', 400),
    ("application/json", b'{"prompt": "\\udc00"}', 400),
    ("multipart/form-data", b"x", 400),
    ("multipart/form-data; boundary=", b"x", 400),
    ("multipart/form-data; boundary=b", b"--b\r\n\r\n", 400),
    ("text/csv", b"prompt\r\n=cmd", 415),
    ("", b"{}", 415),
]


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/videos/{id}/remix", "/v1/videos/{id}/commit"])
def test_a_body_that_is_none_is_refused_everywhere(client: TestClient, path: str) -> None:
    url = path.format(id=create(client)["id"])
    for content_type, body, status in NO_BODIES:
        reply = client.post(url, content=body, headers={"content-type": content_type})
        if body == b"" and path.endswith("commit"):
            error_of(reply, 409)  # that one needs no body
        else:
            assert error_of(reply, status)["type"] == "invalid_request_error", body[:40]


def test_a_database_that_does_not_answer_is_told_as_such(client: TestClient, service: Service) -> None:
    video = create(client)
    with service.engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE videos RENAME TO lost")
    for method, path in (("POST", "/v1/videos"), ("GET", "/v1/videos"), ("GET", f"/v1/videos/{video['id']}/events")):
        reply = client.request(method, path, json={"prompt": "a fox"} if method == "POST" else None)
        assert error_of(reply, 503)["code"] == "unavailable"
        assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("5", "5000")
        assert "lost" not in reply.text


def test_what_nobody_foresaw_is_told_without_its_text(
    client: TestClient, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    video = create(client)
    with service.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE videos SET request = json_object('prompt', 'a secret fox')")
    reply = client.get(f"/v1/videos/{video['id']}")
    error = error_of(reply, 500)
    assert (error["code"], error["type"]) == ("internal_error", "server_error")
    assert reply.headers["x-request-id"] in caplog.text
    assert "ValidationError" in caplog.text
    assert "secret" not in reply.text + caplog.text
