"""What follows from an error: is the video tried again, and does the attempt count against it?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import RayServeException, RequestCancelledError

from deployments.database.records import Kind, Outcome
from deployments.stage_stream import StageStalled, StreamCut
from deployments.stage_work import WorkRefused
from fv_ray.errors import (
    ArtifactDamaged,
    CheckpointError,
    DeviceFailed,
    DeviceOutOfMemory,
    InputError,
    NumericalError,
    StorageError,
)

MAX_COUNTED = 3
"""Attempts that a video may spoil."""

_TERMINAL = (CheckpointError, InputError, NumericalError)
_DRAINED = (ActorUnavailableError, NodeDiedError, ObjectLostError, RequestCancelledError, TaskCancelledError)
_REFUSED = (RayServeException, StorageError, WorkRefused)
_NODE_DIED = "its node has died"
"""Of a node that fell silent, Ray tells it in words alone. One whose connections break is an ActorUnavailableError."""
_CRASHED = (ActorDiedError, DeviceFailed, OutOfMemoryError, WorkerCrashedError)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended without a result."""

    outcome: Outcome
    code: str | None = None
    """Why the video has failed; None where it is tried again."""
    message: str = ""
    remakes_preview: bool = False
    """Whether the video goes back to stage one."""


def ending_of(error: BaseException, num_counted: int, kind: Kind) -> Ending:
    """Decide by the error, by how many attempts already count against the video, and by what the video is."""
    while isinstance(error, RayTaskError):
        error = error.cause  # what was raised in the replica
    if isinstance(error, ArtifactDamaged):
        return _damaged(num_counted + 1, kind)
    if isinstance(error, _TERMINAL):
        return Ending("failed", _code(error), str(error))
    if isinstance(error, (StreamCut, *_DRAINED)) or _went_with_its_node(error):
        return Ending("drained")
    if isinstance(error, _REFUSED):
        return Ending("refused")
    if isinstance(error, DeviceOutOfMemory) and num_counted:
        return Ending("failed", "out_of_memory", "The device has too little memory for this video: make it smaller.")
    return _counted(_outcome(error), num_counted + 1)


def _went_with_its_node(error: BaseException) -> bool:
    return isinstance(error, ActorDiedError) and (error.preempted or _NODE_DIED in str(error))


def _damaged(num_counted: int, kind: Kind) -> Ending:
    """A preview that is another video's is not made again: its commit is of these very bits."""
    if kind == "full" and num_counted < MAX_COUNTED:
        return Ending("failed", remakes_preview=True)
    what = "the video" if kind == "full" else "the preview, and commit that one"
    told = "The stored preview of this video is damaged or missing, and stage two needs all of it"
    return Ending("failed", "artifact_damaged", f"{told}: ask again for {what}.")


def _counted(outcome: Outcome, num_counted: int) -> Ending:
    if num_counted < MAX_COUNTED:
        return Ending(outcome)
    return Ending(
        outcome,
        "crash_loop",
        f"{num_counted} attempts came to nothing, the last one {outcome}; change the request, or ask who runs this.",
    )


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, StageStalled):
        return "stalled"
    return "crashed" if isinstance(error, _CRASHED) else "failed"


def _code(error: BaseException) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
