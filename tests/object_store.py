"""moto's S3 on a free loopback port, one request at a time, with answers that a test can spoil."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import s3fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Fault = Literal["refuse", "store and refuse", "forget If-None-Match"] | None
Spoil = Callable[[str, str], Fault]
"""From a request's method and path."""

ANSWER = b"<Error><Code>ServiceUnavailable</Code><Message>Please try again</Message></Error>"


class ObjectStore:
    """A WSGI application. One request at a time, since moto looks and writes in two steps and S3 does not."""

    def __init__(self) -> None:
        self.url = ""
        self.num_spoiled = 0
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._spoil: Spoil = lambda *_: None
        self._lock = threading.Lock()

    @contextmanager
    def spoiled(self, spoil: Spoil) -> Iterator[None]:
        """Ask `spoil` for a fault at each request."""
        with self._lock:
            self._spoil, self.num_spoiled = spoil, 0
        yield
        with self._lock:
            self._spoil = lambda *_: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            fault = self._spoil(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            self.num_spoiled += fault is not None
            if fault == "forget If-None-Match":
                environ.pop("HTTP_IF_NONE_MATCH", None)
            if fault == "refuse":
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            else:
                told: list[Any] = []
                content = b"".join(self._moto(environ, lambda *args: told.extend(args)))
        if fault in ("refuse", "store and refuse"):
            start_response("503 Service Unavailable", [("Content-Length", str(len(ANSWER)))])
            return [ANSWER]
        start_response(*told[:2])
        return [content]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


def some(share: float, fault: Fault, seed: int = 0) -> Spoil:
    """That fault at a share of the requests, the same ones in every run of one thread."""
    draws = random.Random(seed)
    return lambda *_: fault if draws.random() < share else None


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Run the store, with an empty bucket "bucket", where botocore's environment points until the end."""
    store = ObjectStore()
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=_Quiet)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "2")  # of botocore, for less waiting than by its own 5
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield store
        s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()
