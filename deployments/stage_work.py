"""What an orchestrator and a stage's replica say to each other: `StageWork -> Step, Step, ... Done`."""

from __future__ import annotations

from typing import Literal

from fv_ray.artifact_store import Stage, StageRecord
from fv_ray.types import Value, VideoRequest


class StageWork(Value):
    """One run of a stage. The same work twice is harmless: the store keeps the first result."""

    video_id: str
    stage: Stage
    request: VideoRequest
    salt: str
    """Of the tenant, so that nobody's result is another's cache hit."""
    preview: StageRecord | None = None
    """Stage two's input; None for stage one."""


class Step(Value):
    """A replica is at work. Each one that arrives says that it is not hung."""

    type: Literal["step"] = "step"
    phase: str
    step: int
    num_steps: int
    progress: float
    """Of the stage, 0 to 1, never less than before."""


class Done(Value):
    """The stage's result is stored."""

    type: Literal["done"] = "done"
    record: StageRecord
    is_reused: bool
    """Whether an earlier run had left it, so that no device was used."""


class WorkRefused(Exception):
    """A replica that is to be replaced takes no work; another one will."""
