import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_routes import error_of

KEY = "fv_secret"


@pytest.fixture
def guarded(service: Service) -> TestClient:
    return client_of(with_config(service, api_key=KEY))


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/models", "/metrics", "/openapi.json", "/nowhere", "/healthz/"])
def test_nothing_is_told_without_the_key(guarded: TestClient, path: str) -> None:
    for header in (None, "", "Bearer", "Bearer ", "Bearer fv_wrong", f"Basic {KEY}", KEY, "Bearer ü"):
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        reply = guarded.get(path, headers=headers)
        error = error_of(reply, 401)
        assert (error["code"], reply.headers["www-authenticate"]) == ("invalid_api_key", "Bearer"), header
        assert KEY not in error["message"]
        assert reply.headers["x-request-id"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_key_opens(guarded: TestClient, scheme: str) -> None:
    assert guarded.get("/v1/videos", headers={"authorization": f"{scheme} {KEY}"}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).json() == {"status": "ok"}


def test_a_stranger_s_body_is_not_read(guarded: TestClient) -> None:
    assert guarded.post("/v1/videos", content=b"x" * 10**6).status_code == 401


def test_without_a_configured_key_nobody_needs_one(client: TestClient) -> None:
    assert client.get("/v1/videos").status_code == 200
