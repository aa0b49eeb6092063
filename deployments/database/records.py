"""The values and errors of the database room. What the columns of a video mean stands in `tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fv_ray.artifact_store import Stage, StageRecord
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import VideoRequest

Kind = Literal["full", "preview", "commit"]
State = Literal["queued", "in_progress", "completed", "failed"]
Outcome = Literal["done", "reused", "crashed", "stalled", "drained", "refused", "failed", "cancelled", "lost"]

COUNTED: frozenset[Outcome] = frozenset({"crashed", "stalled", "failed"})
"""Outcomes that count against a video."""

DERIVED_KEY = "commit/"
"""How the idempotency keys begin that the service makes itself; a client's key must begin otherwise."""


@dataclass(frozen=True)
class NewVideo:
    """A checked request for a video."""

    tenant: str
    kind: Kind
    model: str
    checkpoint_digest: str
    request: VideoRequest
    parent_id: str | None = None
    """The preview that is committed, or the video that is remixed."""
    preview: StageRecord | None = None
    """Of a commit: what stage two starts from, as its parent has it."""
    idempotency_key: str | None = None
    """A client's always gives the first video, even a failed or deleted one. One that begins with `commit/` is free
    again when its video has failed, was cancelled or deleted, or its result has expired."""
    request_hash: str = ""
    enhancement: Enhanced | None = None
    """What became of the user's prompt; the request's is the one that is read. None where it was not to be enhanced."""
    is_of_batch: bool = False
    """Whether it goes behind all that are not."""


@dataclass(frozen=True)
class VideoRecord:
    """One row of `videos`, as the columns say, with its results."""

    id: str
    tenant: str
    kind: Kind
    parent_id: str | None
    state: State
    stage: Stage
    is_waiting: bool
    priority: int
    progress: int
    cancel_requested: bool
    model: str
    checkpoint_digest: str
    request: VideoRequest
    enhancement: Enhanced | None
    preview: StageRecord | None
    """None before stage one is done, and after it has expired."""
    video: StageRecord | None
    """None before stage two is done, and after it has expired."""
    error_code: str | None
    error_message: str | None
    created_at: float
    queued_at: float
    started_at: float | None
    completed_at: float | None
    """When it ended, well or not."""
    expires_at: float | None
    """Of a completed video's own result."""
    deleted_at: float | None


@dataclass(frozen=True)
class Accepted:
    """A video that will be made, or the one that the same key had already asked for."""

    video: VideoRecord
    is_replay: bool


@dataclass(frozen=True)
class Page:
    """Some of a tenant's videos."""

    videos: Sequence[VideoRecord]
    has_more: bool


@dataclass(frozen=True)
class Event:
    """Something that happened to a video."""

    number: int
    at: float
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Attempt:
    """A run of a stage at a video, begun."""

    video: VideoRecord
    stage: Stage
    number: int
    num_counted: int
    """Earlier ones that count against the video."""


@dataclass(frozen=True)
class StageLoad:
    """How busy a stage is, and how long it takes."""

    num_queued: int
    num_running: int
    mean_device_s: float | None
    """Of the last runs that were done; None before the first."""


class KeyReused(Exception):
    """An idempotency key came with another request."""


class QueueFull(Exception):
    """There are as many queued videos as are allowed."""

    def __init__(self, scope: Literal["tenant", "service"], num_queued: int) -> None:
        super().__init__(f"{num_queued} videos are queued ({scope})")
        self.scope, self.num_queued = scope, num_queued


class NotThere(Exception):
    """The tenant has no such video, or its preview is no longer kept."""


class ResultRemoved(Exception):
    """The stored result that a stage found had expired and is being removed: run the stage again."""


class DatabaseUnavailable(Exception):
    """The database does not answer, or its disk is full."""
