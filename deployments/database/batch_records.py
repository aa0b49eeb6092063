"""The values of files and batches. What the columns mean stands in `tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from deployments.database.records import NewVideo, VideoRecord
from fv_ray.artifact_store import Artifact

Purpose = Literal["batch", "batch_output"]
BatchState = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]
Outcome = Literal["completed", "expired", "cancelled"]
RowState = Literal["waiting", "open", "completed", "failed", "withdrawn"]
"""Of a row: not yet a video; a video that has not ended; ended; taken back since its batch ended before it."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class FileRecord:
    """A file that the API shows."""

    id: str
    tenant: str
    purpose: Purpose
    filename: str
    artifact: Artifact
    created_at: float
    expires_at: float


@dataclass(frozen=True)
class InputFault:
    """What is wrong with an input file, where a line is wrong."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True)
class NewBatch:
    """A checked request for a batch."""

    tenant: str
    endpoint: str
    input_file_id: str
    completion_window: str
    window_s: float
    output_keep_s: int
    metadata: Mapping[str, str] | None = None
    idempotency_key: str | None = None
    request_hash: str = ""


@dataclass(frozen=True)
class BatchRecord:
    """One row of `batches`."""

    id: str
    tenant: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None
    output_keep_s: int
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    state: BatchState
    outcome: Outcome | None
    errors: Sequence[InputFault]
    num_total: int
    num_completed: int
    num_failed: int
    submitted_to: int
    created_at: float
    expires_at: float
    in_progress_at: float | None
    finalizing_at: float | None
    cancelling_at: float | None
    ended_at: float | None


@dataclass(frozen=True)
class InputRow:
    """A line of an input file that is a request, and where its bytes are."""

    line: int
    custom_id: str
    start: int
    num_bytes: int


@dataclass(frozen=True)
class RowRefusal:
    """What the API would have answered to a row that cannot be made."""

    status: int
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True)
class CheckedRow:
    """A row as a video that will be made, or as it was refused."""

    line: int
    made: NewVideo | RowRefusal


@dataclass(frozen=True)
class BatchRow:
    """A row and what became of it."""

    line: int
    custom_id: str
    state: RowState
    video: VideoRecord | None
    """None where there never was one, or where it is kept no longer."""
    refusal: RowRefusal | None


@dataclass(frozen=True)
class Written:
    """The files of a batch: each only where it has lines."""

    output: Artifact | None
    errors: Artifact | None
    num_completed: int
    num_failed: int


@dataclass(frozen=True)
class Listed(Generic[Item]):
    """A page of a tenant's files or batches."""

    items: Sequence[Item]
    has_more: bool


class TooManyBatches(Exception):
    """A tenant has as many batches that have not ended as are allowed."""

    def __init__(self, num_open: int) -> None:
        super().__init__(f"{num_open} batches have not ended")
        self.num_open = num_open
