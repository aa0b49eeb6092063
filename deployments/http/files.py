"""The files of batches: give, list, look at, take away, delete."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response
from uuid6 import uuid7

from deployments.database.batch_records import FileRecord
from deployments.database.files import add, delete_file, list_files, read_file
from deployments.database.records import NotThere
from deployments.http.batch_bodies import FilesQuery
from deployments.http.batch_objects import FileDeleted, FileList, FileObject, file_object
from deployments.http.content import send_file
from deployments.http.errors import unknown_after
from deployments.http.openapi import FILE, LISTS, READS, UPLOADS, FileId, upload_body
from deployments.http.service import TENANT, TheService
from deployments.http.uploads import Upload, read_upload, store_upload

router = APIRouter(tags=["batches"])


@router.post("/v1/files", summary="Upload a batch's input", responses=UPLOADS, openapi_extra=upload_body())
def create(service: TheService, upload: Annotated[Upload, Depends(read_upload)]) -> FileObject:
    """JSON lines, each a request: what they say is looked at when a batch begins with it."""
    file_id, keep = f"file-{uuid7().hex}", upload.body.expires_after
    artifact = store_upload(service, file_id, upload)
    now = time.time()
    file = FileRecord(
        id=file_id,
        tenant=TENANT,
        purpose=upload.body.purpose,
        filename=upload.filename,
        artifact=artifact,
        created_at=now,
        expires_at=now + (service.config.retention.file_s if keep is None else keep.seconds),
    )
    return file_object(add(service.engine, file))


@router.get("/v1/files", summary="List files", responses=LISTS)
def list_(service: TheService, query: Annotated[FilesQuery, Query()]) -> FileList:
    """By creation."""
    wanted = query.model_dump()
    try:
        page = list_files(service.engine, TENANT, **wanted)
    except NotThere:
        raise unknown_after(query.after) from None
    data = [file_object(file) for file in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return FileList(data=data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/v1/files/{file_id}", summary="Look at a file", responses=READS)
def retrieve(service: TheService, file_id: FileId) -> FileObject:
    """Its name, size and times."""
    return file_object(read_file(service.engine, TENANT, file_id))


@router.delete("/v1/files/{file_id}", summary="Delete a file", responses=READS)
def delete_(service: TheService, file_id: FileId) -> FileDeleted:
    """It is shown no more; a batch that has begun with it goes on."""
    delete_file(service.engine, TENANT, file_id)
    return FileDeleted(id=file_id)


@router.get("/v1/files/{file_id}/content", summary="Download a file", response_class=Response, responses=FILE)
def download(service: TheService, request: Request, file_id: FileId) -> Response:
    """The file itself: `Range`, `If-Range`, `If-Match` and `If-None-Match` are obeyed."""
    file = read_file(service.engine, TENANT, file_id)
    return send_file(service, request, file.artifact, f"{file.id}.jsonl")
