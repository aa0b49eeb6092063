"""One static API key, as `Authorization: Bearer KEY`, before anything else is done."""

from __future__ import annotations

import hashlib
import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.http.errors import ApiError, error_reply

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What probes ask, who have no key."""


class Auth:
    """ASGI middleware that lets nobody pass without the key."""

    def __init__(self, app: ASGIApp, api_key: SecretStr | None) -> None:
        self.app = app
        self.wanted = None if api_key is None else _digest(api_key.get_secret_value().encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or pass on."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or self.wanted is None or path in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        is_known = hmac.compare_digest(_digest(key.strip().encode("latin-1")), self.wanted)
        if scheme.lower() == "bearer" and is_known:
            await self.app(scope, receive, send)
            return
        told = "no API key came with the request" if not key else "the API key is not known"
        message = f"{told}; send the service's key as Authorization: Bearer KEY"
        error = ApiError(401, "invalid_api_key", message, headers={"www-authenticate": "Bearer"})
        await error_reply(error)(scope, receive, send)


def _digest(key: bytes) -> bytes:
    """Of equal length for every key, so that a comparison tells nothing of it."""
    return hashlib.sha256(key).digest()
