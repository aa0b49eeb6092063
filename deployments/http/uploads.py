"""A form with a file to a file in the store. Its bytes, its rows and the length of each are counted first."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from deployments.config import BatchLimits
from deployments.http.batch_bodies import UploadBody
from deployments.http.errors import ApiError
from deployments.http.forms import check_fields, unbracket
from deployments.http.service import Service
from fv_ray.artifact_store import Artifact
from fv_ray.checkpoint import shortened
from fv_ray.storage import storage_errors

MAX_FIELDS = 10
MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class Upload:
    """A file as it came, of which nothing was checked."""

    content: BinaryIO
    filename: str
    body: UploadBody


async def read_upload(request: Request) -> AsyncIterator[Upload]:
    """A file, on this machine's disk until the reply is sent.

    Raises:
        ApiError: the form is not one of a file.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        message = f"content-type is {content_type[:60]!r}; send multipart/form-data"
        raise ApiError(415, "unsupported_media_type", message)
    try:
        form = await request.form(max_files=1, max_fields=MAX_FIELDS)
    except HTTPException as error:
        message = f"the form cannot be read ({error.detail}); send multipart/form-data with one file"
        raise ApiError(400, "invalid_body", message) from None
    except ClientDisconnect:
        raise ApiError(400, "invalid_body", "the body has no end; send all of it") from None
    try:
        yield _upload(form)
    finally:
        await form.close()


def store_upload(service: Service, file_id: str, upload: Upload) -> Artifact:
    """Count a file and keep it.

    Raises:
        ApiError: it is empty or too large.
        StorageError: it cannot be stored.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "upload.jsonl")
        with storage_errors(path), path.open("wb") as target:
            _copy(upload.content, target, service.config.batches)
        return service.files.put(file_id, path)


def _upload(form: FormData) -> Upload:
    texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    given = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    if [name for name, _ in given] != ["file"]:
        told = f"the form has the file {shortened(given[0][0])}" if given else "the form has no file"
        raise ApiError(400, "missing_required_parameter", f"{told}; send one, as file", param="file")
    name = "".join(char for char in given[0][1].filename or "" if char.isprintable())
    body = check_fields(unbracket(texts), UploadBody, are_texts=True)
    return Upload(given[0][1].file, name[:MAX_NAME_CHARACTERS] or "upload", body)


def _copy(source: BinaryIO, target: BinaryIO, limits: BatchLimits) -> None:
    num_rows = num_bytes = 0
    for number, line in enumerate(iter(partial(source.readline, limits.max_line_bytes + 1), b""), 1):
        num_bytes += len(line)
        num_rows += bool(line.strip())
        if len(line) > limits.max_line_bytes:
            message = f"line {number} has more than {limits.max_line_bytes} bytes; that many are allowed; shorten it"
            raise ApiError(400, "line_too_long", message, param="file")
        if num_bytes > limits.max_file_bytes:
            message = f"the file has more than {limits.max_file_bytes} bytes; that many are allowed; send it in parts"
            raise ApiError(413, "file_too_large", message, param="file")
        if num_rows > limits.max_rows:
            message = f"the file has more than {limits.max_rows} rows; that many are allowed; send it in parts"
            raise ApiError(400, "too_many_rows", message, param="file")
        target.write(line)
    if not num_rows:
        raise ApiError(400, "empty_file", "the file has no rows; send one JSON object a line", param="file")
