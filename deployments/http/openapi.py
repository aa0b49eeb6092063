"""The OpenAPI document, and the parts of it that routes share: every route tells its errors."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Path
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from deployments.config import AppConfig
from deployments.http.auth import OPEN_PATHS
from deployments.http.batch_bodies import BatchBody, UploadForm
from deployments.http.bodies import CommitBody, CreateBody, EnhanceBody, RemixBody
from deployments.http.errors import ErrorReply

VideoId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
FileId = VideoId
BatchId = VideoId
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description="The same key with the same request gives the first video, with another request a 409.",
    ),
]

Responses = dict[int | str, dict[str, Any]]

REFERENCE = "#/components/schemas/{model}"
BODIES = (CreateBody, RemixBody, CommitBody, EnhanceBody, UploadForm, BatchBody)
REASONS = {
    204: "The video has ended, and all of it was told",
    302: "Found: the file is in the object store",
    304: "The client has it already",
    400: "A field is wrong: `param` names it",
    401: "The API key is missing or not known",
    404: "There is no such video, model, file or batch, or its files are kept no longer",
    408: "The body came too slowly",
    409: "The video's state forbids it, or the idempotency key was used for another request; x-should-retry is false",
    412: "The file is not the one that If-Match names",
    413: "The body is too large",
    415: "The body is neither JSON nor a form, or is compressed",
    416: "The file has none of these bytes",
    429: "Too many of the client's videos wait, or batches are open; see retry-after",
    431: "The headers are too large",
    500: "The service failed",
    503: "The database, the store or the enhancer does not answer, or too much waits or is open; see retry-after",
}
EVERYWHERE = (401, 408, 413, 415, 431, 500, 503)


def _errors(*statuses: int) -> Responses:
    return {status: {"model": ErrorReply, "description": REASONS[status]} for status in statuses}


def _empty(*statuses: int) -> Responses:
    return {status: {"description": REASONS[status]} for status in statuses}


_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILES = {"video/mp4": _BYTES, "image/webp": _BYTES}

LISTS = _errors(400)
READS = _errors(404)
CREATES = _errors(400, 404, 409, 429)
UPLOADS = _errors(400)
BATCHES = _errors(400, 409, 429)
FILE: Responses = {
    200: {"content": {"application/jsonl": _BYTES}},
    206: {"description": "A part of the file", "content": {"application/jsonl": _BYTES}},
    **_empty(302, 304),
    **_errors(404, 412, 416),
}
MODELS = _errors(404)
UNSUPPORTED = _errors(400)
ENHANCES = _errors(400)
EVENTS: Responses = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    **_empty(204),
    **_errors(400, 404),
}
CONTENT: Responses = {
    200: {"content": _FILES},
    206: {"description": "A part of the file", "content": _FILES},
    **_empty(302, 304),
    **_errors(400, 404, 409, 412, 416),
}
METRICS: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def request_body(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """A body that may come as JSON or as a form, for a route that reads it itself."""
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    form = {"schema": schema, "encoding": {"flashvideo": {"style": "deepObject", "explode": True}}}
    content = {"application/json": {"schema": schema}, "multipart/form-data": form}
    return {"requestBody": {"required": is_required, "content": content}}


def upload_body() -> dict[str, Any]:
    """A file in a form."""
    schema = {"$ref": REFERENCE.format(model=UploadForm.__name__)}
    form = {"schema": schema, "encoding": {"expires_after": {"style": "deepObject", "explode": True}}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """A body that comes as JSON alone."""
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document(api: FastAPI, config: AppConfig) -> dict[str, Any]:
    """FastAPI's document with what it cannot know: bodies that routes read themselves, errors of the middleware."""
    told = api.openapi()
    schemas = told.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # ours are 400, in the envelope
        schemas.pop(unused, None)
    _, bodies = models_json_schema([(body, "validation") for body in BODIES], ref_template=REFERENCE)
    schemas.update(bodies["$defs"])
    for body in (CreateBody, RemixBody, CommitBody, EnhanceBody):
        _limit_prompt(schemas[body.__name__]["properties"]["prompt"], config.limits.max_prompt_characters)
    for path, operations in told["paths"].items():
        for operation in operations.values():
            _complete(operation, is_open=path in OPEN_PATHS)
    told["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    told["security"] = [] if config.api_key is None else [{"bearer": []}]
    return told


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    """Add the errors that every route has, and the id of every reply."""
    responses = operation["responses"]
    responses.pop("422", None)
    envelope = {"application/json": {"schema": {"$ref": REFERENCE.format(model=ErrorReply.__name__)}}}
    for status in EVERYWHERE:
        if not (is_open and status == 401):
            responses.setdefault(str(status), {"description": REASONS[status], "content": envelope})
    for response in responses.values():
        response.setdefault("headers", {})["x-request-id"] = {"schema": {"type": "string"}}
    if is_open:
        operation["security"] = []


def _limit_prompt(schema: dict[str, Any], most: int) -> None:
    for option in (schema, *schema.get("anyOf", [])):
        if "maxLength" in option:
            option["maxLength"] = min(option["maxLength"], most)
