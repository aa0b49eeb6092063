import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from deployments.config import BatchLimits, Limits
from deployments.http.errors import ApiError
from deployments.http.limits import UPLOAD_PATH, RequestLimits

PATIENCE_S = 120
LIMITS = Limits(max_body_bytes=1000, max_header_bytes=2000, body_timeout_s=PATIENCE_S)
BATCHES = BatchLimits(max_file_bytes=5000, upload_timeout_s=PATIENCE_S)
IMPATIENT = LIMITS.model_copy(update={"body_timeout_s": 0.05}), BATCHES.model_copy(update={"upload_timeout_s": 0.05})


async def echo(request: Request) -> PlainTextResponse:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ApiError as error:
        return PlainTextResponse(error.code, error.status)


def app(limits: Limits, batches: BatchLimits) -> RequestLimits:
    routes = [Route(path, echo, methods=["POST"]) for path in ("/", UPLOAD_PATH)]
    return RequestLimits(Starlette(routes=routes), limits, batches)


@pytest.fixture
def client() -> TestClient:
    return TestClient(app(LIMITS, BATCHES))


def test_a_body_at_the_limit_passes_whole(client: TestClient) -> None:
    reply = client.post("/", content=b"x" * 1000)
    assert (reply.status_code, reply.text) == (200, "1000")


def test_a_body_is_counted_where_no_length_is_told(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    reply = client.post("/", content=chunks())
    assert "content-length" not in reply.request.headers
    assert reply.status_code == 413


@pytest.mark.parametrize("length", ["1001", "9" * 400])
def test_a_body_that_is_told_to_be_large_is_not_read(client: TestClient, length: str) -> None:
    assert client.post("/", content=b"x", headers={"content-length": length}).status_code == 413


def test_many_headers_are_refused(client: TestClient) -> None:
    assert client.post("/", headers={"x-large": "x" * 2000}).status_code == 431
    assert client.post("/?" + "x" * 2000).status_code == 431


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    assert client.post("/", content=b"x", headers={"content-encoding": "gzip"}).status_code == 415


def test_a_file_may_be_as_large_as_files_are(client: TestClient) -> None:
    reply = client.post(UPLOAD_PATH, content=b"x" * 6000)  # with what a form has around it
    assert (reply.status_code, reply.text) == (200, "6000")
    chunks = (b"x" * 1000 for _ in range(7))
    assert client.post(UPLOAD_PATH, content=chunks).text == "body_too_large"
    assert client.post(UPLOAD_PATH, content=b"x", headers={"content-length": "6001"}).status_code == 413


@pytest.mark.parametrize("path", ["/", UPLOAD_PATH])
def test_a_body_without_end_is_refused(path: str) -> None:
    """Without a timed assert: the body never ends, so that only the limit can."""
    sent: list[dict[str, object]] = []

    async def run() -> None:
        chunks = endless()
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}

        async def receive() -> dict[str, object]:
            return await anext(chunks)

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await app(*IMPATIENT)(scope, receive, send)

    asyncio.run(run())
    assert sent[0]["status"] == 408


async def endless() -> AsyncIterator[dict[str, object]]:
    yield {"type": "http.request", "body": b"x", "more_body": True}
    await asyncio.Event().wait()
