"""How large and how slow a request may be, before anything reads it.

A body is read whole here, its bytes counted as they come: Content-Length may lie or be missing. No request of this API
has a large one.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.config import Limits
from deployments.http.errors import ApiError, error_reply


class RequestLimits:
    """ASGI middleware that refuses what is too large or too slow, and gives the rest its body in one piece."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 431, 413, 415 or 408, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_headers(scope)
            body = await asyncio.wait_for(self._read(receive), self.limits.body_timeout_s)
        except ClientDisconnect:
            return
        except TimeoutError:
            message = f"the body took longer than {self.limits.body_timeout_s:g} s; send it at once"
            await error_reply(ApiError(408, "request_timeout", message))(scope, receive, send)
            return
        except ApiError as error:
            await error_reply(error)(scope, receive, send)
            return
        await self.app(scope, _with_body(body, receive), send)

    def _check_headers(self, scope: Scope) -> None:
        num_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
        num_bytes += len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        if num_bytes > self.limits.max_header_bytes:
            message = f"the headers have {num_bytes} bytes; allowed are {self.limits.max_header_bytes}; send fewer"
            raise ApiError(431, "headers_too_large", message)
        headers = Headers(scope=scope)
        if (encoding := headers.get("content-encoding", "identity").lower()) != "identity":
            message = f"content-encoding is {encoding[:60]!r}; bodies are read as they are; send it uncompressed"
            raise ApiError(415, "unsupported_encoding", message)
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self.limits.max_body_bytes):
            raise self._too_large(length[:18])

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self.limits.max_body_bytes:
                raise self._too_large(f"more than {self.limits.max_body_bytes}")
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self, told: str) -> ApiError:
        message = f"the body has {told} bytes; allowed are {self.limits.max_body_bytes}; send a shorter prompt"
        return ApiError(413, "body_too_large", message)


def _with_body(body: bytes, receive: Receive) -> Receive:
    """A body that was read, then what comes after it: the client's going."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
