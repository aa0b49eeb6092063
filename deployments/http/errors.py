"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`, on every path out.

An unexpected exception's text is never told: it may hold a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from deployments.database.records import DatabaseUnavailable, KeyReused, NotThere
from fv_ray.checkpoint import shortened
from fv_ray.errors import ArtifactDamaged, InputError, SizeRefused, StorageError

ErrorType = Literal["invalid_request_error", "rate_limit_error", "server_error"]
UNAVAILABLE_RETRY_S = 5.0
"""After which a client may ask again where the database or the store does not answer."""


class ErrorDetail(BaseModel):
    """What was wrong."""

    message: str
    type: ErrorType
    param: str | None
    """The field that is meant."""
    code: str | None


class ErrorReply(BaseModel):
    """The envelope of every error."""

    error: ErrorDetail


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = dict(headers or {})


def conflict(code: str, message: str) -> ApiError:
    """A 409 that clients do not retry: OpenAI's does, unless it is told."""
    return ApiError(409, code, message, headers={"x-should-retry": "false"})


def not_there(name: str, wanted: str) -> ApiError:
    """The tenant has no such video, file or batch; `name` is the path's parameter."""
    what = name.removesuffix("_id")
    many = {"batch": "batches"}.get(what, f"{what}s")
    return ApiError(404, f"{what}_not_found", f"there is no {what} {shortened(wanted)}; list your {many}", param="id")


def unknown_after(after: str | None) -> ApiError:
    """The `after` of a list is none that it had."""
    message = f"after is {after!r}; it must be the last id of a page; begin at the first page"
    return ApiError(400, "invalid_value", message, param="after")


def retry_after(seconds: float) -> dict[str, str]:
    """Both headers by which clients wait."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def refused(error: InputError) -> ApiError:
    """What the checkpoint cannot make."""
    if isinstance(error, SizeRefused):
        return ApiError(400, error.code, str(error), param=error.param)
    return ApiError(400, "invalid_value", str(error))


def error_reply(error: ApiError) -> JSONResponse:
    """An error as a response."""
    return JSONResponse(envelope(error), error.status, error.headers)


def envelope(error: ApiError) -> dict[str, Any]:
    """An error as the body of a response."""
    kind: ErrorType = "invalid_request_error"
    if error.status == 429:
        kind = "rate_limit_error"
    elif error.status >= 500:
        kind = "server_error"
    detail = ErrorDetail(message=error.message, type=kind, param=error.param, code=error.code)
    return ErrorReply(error=detail).model_dump()


def unexpected() -> ApiError:
    """What is told of an error that nobody foresaw."""
    return ApiError(500, "internal_error", "the service failed; try again, and give x-request-id to who runs it")


def invalid_fields(issues: list[dict[str, Any]], *, drop: int = 0) -> ApiError:
    """The first of pydantic's findings as a 400 that names the field, all of them in the message.

    Args:
        issues: of a ValidationError.
        drop: parts of each location that are not the client's own: FastAPI's "body", "query".
    """
    names = [".".join(map(str, issue["loc"][drop:])) for issue in issues]
    told = [_issue(name, issue) for name, issue in zip(names, issues, strict=True)]
    code = _CODES.get(issues[0]["type"], "invalid_value")
    return ApiError(400, code, "; ".join(told[:5]), param=names[0] or None)


_CODES = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}


def _issue(name: str, issue: dict[str, Any]) -> str:
    if issue["type"] == "extra_forbidden":
        return f"unknown parameter {shortened(name)}; remove it or see the API's document"
    if issue["type"] == "missing":
        return f"{name} is missing; give it"
    return f"{name or 'the body'} is {shortened(issue['input'])}: {issue['msg']}"


def _api_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error_reply(error)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """A path, query or header value that the route's signature does not allow."""
    assert isinstance(error, RequestValidationError)
    issues = [dict(issue) for issue in error.errors()]
    if issues[0]["loc"][0] == "path":
        return error_reply(not_there(str(issues[0]["loc"][1]), str(issues[0]["input"])))
    return error_reply(invalid_fields(issues, drop=1))


def _http(request: Request, error: Exception) -> JSONResponse:
    """What the router itself refuses: an unknown URL, another method."""
    assert isinstance(error, HTTPException)
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    what = f"{shortened(request.method)} {shortened(request.url.path)}: {HTTPStatus(error.status_code).phrase}"
    headers = {"allow": _allowed(request)} if error.status_code == 405 else error.headers
    return error_reply(ApiError(error.status_code, code, f"{what}; see /openapi.json", headers=headers))


def _allowed(request: Request) -> str:
    """Methods of the path; Starlette tells those of its first route."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    documented = request.app.openapi()["paths"].items()
    of_path = (operations for template, operations in documented if compile_path(template)[0].match(path))
    return ", ".join(sorted(method.upper() for method in next(of_path, ("get",))))  # of the document itself


def _not_there(request: Request, _: Exception) -> JSONResponse:
    name, wanted = next(iter(request.path_params.items()), ("video_id", ""))
    return error_reply(not_there(name, str(wanted)))


def _key_reused(_: Request, __: Exception) -> JSONResponse:
    message = "the Idempotency-Key was used for another request; send the same request or another key"
    return error_reply(conflict("idempotency_key_reused", message))


def _input(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InputError)
    return error_reply(refused(error))


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    place = "database" if isinstance(error, DatabaseUnavailable) else "store of results"
    message = f"the {place} does not answer; try again, a POST with an Idempotency-Key"
    return error_reply(ApiError(503, "unavailable", message, headers=retry_after(UNAVAILABLE_RETRY_S)))


def _damaged(_: Request, __: Exception) -> JSONResponse:
    message = "the stored file is missing or not what was stored; make the video again"
    return error_reply(ApiError(500, "file_damaged", message, headers={"x-should-retry": "false"}))


def add_error_handlers(api: FastAPI) -> None:
    """Answer every foreseen exception in the envelope."""
    api.add_exception_handler(ApiError, _api_error)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(NotThere, _not_there)
    api.add_exception_handler(KeyReused, _key_reused)
    api.add_exception_handler(InputError, _input)
    api.add_exception_handler(DatabaseUnavailable, _unavailable)
    api.add_exception_handler(ArtifactDamaged, _damaged)
    api.add_exception_handler(StorageError, _unavailable)
