"""A body's bytes to one model: JSON, or a form whose names are bracketed as OpenAI's client sends them.

    prompt=...  seed=7  flashvideo[stage_two][num_inference_steps]=4  ->  {"prompt": ..., "flashvideo": {...}}

Refuses what parsers read differently: duplicate keys, numbers that are not finite, lone surrogates, NUL, deep nesting.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from deployments.http.errors import ApiError, invalid_fields
from fv_ray.checkpoint import shortened

MAX_DEPTH = 16
MAX_FIELDS = 100
UNSUPPORTED = {"input_reference", "video", "characters"}
"""Of OpenAI's protocol, but not of FlashVideo: it makes videos of text alone."""

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, model: type[Body]) -> Body:
    """Read a request's body as `model`.

    Raises:
        ApiError: naming what is wrong.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        return check_fields(parse_json(await request.body()), model)
    if content_type == "multipart/form-data":
        return check_fields(await _read_form(request), model, are_texts=True)
    message = f"content-type is {content_type[:60]!r}; send application/json or multipart/form-data"
    raise ApiError(415, "unsupported_media_type", message)


def check_fields(fields: dict[str, Any], model: type[Body], *, are_texts: bool = False) -> Body:
    """Fields as `model`; those of a form are texts.

    Raises:
        ApiError: naming what is wrong.
    """
    if not_ours := sorted(UNSUPPORTED & fields.keys()):
        message = f"{not_ours[0]} is not supported; FlashVideo makes videos of text alone; remove it"
        raise ApiError(400, "unsupported_parameter", message, param=not_ours[0])
    try:
        return model.model_validate_strings(fields) if are_texts else model.model_validate(fields)
    except ValidationError as error:
        raise invalid_fields([dict(issue) for issue in error.errors(include_url=False)]) from None


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ApiError: it is none, or holds what parsers read differently.
    """
    try:
        parsed = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _invalid("the body is not UTF-8; send JSON in UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # also of a number with thousands of digits
        raise _invalid(f"the body is not JSON ({str(error)[:100]}); send a JSON object") from None
    if not isinstance(parsed, dict):
        raise _invalid("the body is no JSON object; send one, with a prompt")
    _check(parsed, 1)
    return parsed


def unbracket(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Form fields to the object that their names spell.

    Raises:
        ApiError: a name is spelled wrongly, stands twice, or is both a value and an object.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        match = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name)
        if match is None:
            raise _invalid(f"the field {shortened(name)} has unbalanced brackets; write a[b][c]")
        *path, last = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) >= MAX_DEPTH:
            raise _too_deep()
        place = found
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise _invalid(f"the field {shortened(name)} is both a value and an object; send one of them")
        if last in place and last:  # a[] may stand many times
            raise _invalid(f"the field {shortened(name)} stands twice; send it once")
        place[last] = value
    _check(found, 1)
    return found


async def _read_form(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
            fields = form.multi_items()
    except HTTPException as error:
        raise _invalid(f"the form cannot be read ({error.detail}); send multipart/form-data") from None
    for name, value in fields:
        if isinstance(value, UploadFile):
            message = f"{shortened(name)} is a file; FlashVideo makes videos of text alone; remove it"
            raise ApiError(400, "unsupported_parameter", message, param=name.partition("[")[0])
    try:
        body.decode()  # starlette reads a field that is not UTF-8 as Latin-1
    except UnicodeDecodeError:
        raise _invalid("the form is not UTF-8; send its fields in UTF-8") from None
    return unbracket([(name, value) for name, value in fields if isinstance(value, str)])


def _check(value: object, depth: int) -> None:
    """Refuse, anywhere in a body, what a database or another parser would choke on."""
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _invalid("the body holds a number beyond a double's range; send a finite one")
    elif isinstance(value, str) and re.search("[\x00\ud800-\udfff]", value):
        raise _invalid("the body holds NUL or half of a surrogate pair; remove it")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid(f"the key {shortened(twice)} stands twice; send it once")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _invalid(f"the body holds {name}; JSON has no such number; send a finite one")


def _too_deep() -> ApiError:
    return _invalid(f"the body is nested deeper than {MAX_DEPTH} levels; send it flatter")


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_body", message)
