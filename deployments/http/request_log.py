"""One line a request, its id, its counts, and the last door for errors that nobody foresaw.

A line holds the route's template, never the path, a prompt or a key: `GET /v1/videos/{video_id} 200 12 ms ID`.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.http.errors import error_reply, unexpected
from deployments.http.metrics import RequestMetrics

log = logging.getLogger(f"ray.serve.{__name__}")  # Serve writes down what stands below its own

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class RequestLog:
    """ASGI middleware around all others."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and tell what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, started, status = f"req_{uuid.uuid4().hex}", perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001  here a request ends, whatever happened
            _log_without_text(error, request_id)
            if status:
                raise ConnectionAbortedError("an error came after the reply had begun") from None
            await error_reply(unexpected())(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - started
            method, route = _name(scope)
            self.metrics.observe(method, route, status, seconds)
            log.info("%s %s %d %.0f ms %s", method, route, status, seconds * 1000, request_id)


def _name(scope: Scope) -> tuple[str, str]:
    """Method and route's template: few values, whatever clients send."""
    route = getattr(scope.get("route"), "path", "unknown")
    return scope["method"] if scope["method"] in METHODS else "other", route


def _log_without_text(error: Exception, request_id: str) -> None:
    """Where an error happened, without its message: that may hold what a client sent."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s in request %s\n%s", type(error).__name__, request_id, where)
