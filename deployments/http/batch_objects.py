"""Rows of files and batches to what clients read: OpenAI's objects."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from deployments.database.batch_records import BatchRecord, BatchState, FileRecord, Purpose


class FileObject(BaseModel):
    """A stored file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    """Unix seconds, as all times here."""
    expires_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """A file is shown no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class RequestCounts(BaseModel):
    """Of a batch's rows; total is 0 until its input is found sound."""

    total: int
    completed: int
    failed: int


class BatchFault(BaseModel):
    """What is wrong with the input file."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchFaults(BaseModel):
    """Why a batch has failed."""

    object: Literal["list"] = "list"
    data: list[BatchFault]


class BatchObject(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    completion_window: str
    status: BatchState
    errors: BatchFaults | None
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None


class BatchList(BaseModel):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def file_object(file: FileRecord) -> FileObject:
    """What clients read of a file."""
    return FileObject(
        id=file.id,
        bytes=file.artifact.num_bytes,
        created_at=int(file.created_at),
        expires_at=int(file.expires_at),
        filename=file.filename,
        purpose=file.purpose,
    )


def batch_object(batch: BatchRecord) -> BatchObject:
    """What clients read of a batch."""
    faults = [
        BatchFault(code=each.code, message=each.message, param=each.param, line=each.line) for each in batch.errors
    ]
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        completion_window=batch.completion_window,
        status=batch.state,
        errors=BatchFaults(data=faults) if faults else None,
        input_file_id=batch.input_file_id,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        request_counts=RequestCounts(total=batch.num_total, completed=batch.num_completed, failed=batch.num_failed),
        metadata=None if batch.metadata is None else dict(batch.metadata),
        created_at=int(batch.created_at),
        expires_at=int(batch.expires_at),
        in_progress_at=_second(batch.in_progress_at),
        finalizing_at=_second(batch.finalizing_at),
        completed_at=_ended(batch, "completed"),
        failed_at=_ended(batch, "failed"),
        expired_at=_ended(batch, "expired"),
        cancelling_at=_second(batch.cancelling_at),
        cancelled_at=_ended(batch, "cancelled"),
    )


def _ended(batch: BatchRecord, state: BatchState) -> int | None:
    return _second(batch.ended_at) if batch.state == state else None


def _second(time: float | None) -> int | None:
    return None if time is None else int(time)
