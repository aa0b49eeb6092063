"""How large and how slow a request may be, before anything reads it.

A body is read whole here, its bytes counted as they come: Content-Length may lie or be missing. Only an uploaded file
is large: it is counted as well, and passed on piece by piece.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.config import BatchLimits, Limits
from deployments.http.errors import ApiError, error_reply

UPLOAD_PATH = "/v1/files"


class RequestLimits:
    """ASGI middleware that refuses what is too large or too slow, and gives the rest its body in one piece."""

    def __init__(self, app: ASGIApp, limits: Limits, batches: BatchLimits) -> None:
        self.app, self.limits, self.batches = app, limits, batches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 431, 413, 415 or 408, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if is_upload := _is_upload(scope):
            most = self.batches.max_file_bytes + self.limits.max_body_bytes  # what is around the file
        else:
            most = self.limits.max_body_bytes
        try:
            self._check_headers(scope, most)
            if is_upload:
                receive = self._counted(receive, most)
            else:
                body = await asyncio.wait_for(self._read(receive), self.limits.body_timeout_s)
                receive = _with_body(body, receive)
        except ClientDisconnect:
            return
        except TimeoutError:
            message = f"the body took longer than {self.limits.body_timeout_s:g} s; send it at once"
            await error_reply(ApiError(408, "request_timeout", message))(scope, receive, send)
            return
        except ApiError as error:
            await error_reply(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_headers(self, scope: Scope, most: int) -> None:
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
        if length.isdecimal() and (len(length) > 18 or int(length) > most):
            raise _too_large(length[:18], most)

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self.limits.max_body_bytes:
                raise _too_large(f"more than {self.limits.max_body_bytes}", self.limits.max_body_bytes)
            if not message.get("more_body", False):
                return bytes(body)

    def _counted(self, receive: Receive, most: int) -> Receive:
        """Pieces of a body until they are too many or too late; what is raised here reaches who reads the body."""
        deadline, num_bytes = asyncio.get_running_loop().time() + self.batches.upload_timeout_s, 0
        has_more = True

        async def counted() -> Message:
            nonlocal num_bytes, has_more
            if not has_more:
                return await receive()  # the client's going
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                told = f"the file took longer than {self.batches.upload_timeout_s:g} s; send it faster or in parts"
                raise ApiError(408, "request_timeout", told) from None
            num_bytes += len(message.get("body", b""))
            if num_bytes > most:
                raise _too_large(f"more than {most}", most)
            has_more = message.get("more_body", False)
            return message

        return counted


def _is_upload(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return scope["method"] == "POST" and path == UPLOAD_PATH


def _too_large(told: str, most: int) -> ApiError:
    return ApiError(413, "body_too_large", f"the body has {told} bytes; allowed are {most}; send less")


def _with_body(body: bytes, receive: Receive) -> Receive:
    """A body that was read, then what comes after it: the client's going."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
