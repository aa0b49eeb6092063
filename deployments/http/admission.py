"""Whether a new video may wait in the queue: its own cost, and what waits already, against the limits."""

from __future__ import annotations

from typing import get_args

from deployments.database.acceptance import accept
from deployments.database.records import Accepted, Kind, NewVideo, QueueFull
from deployments.database.videos import stage_load
from deployments.http.errors import ApiError, retry_after
from deployments.http.estimate import StagePace, place_free_after_s, stage_seconds
from deployments.http.service import Service
from fv_ray.artifact_store import Stage
from fv_ray.types import VideoRequest

UNKNOWN_RETRY_S = 10.0
"""After which a client may ask again, before anything was measured."""


def stages_of(kind: Kind) -> tuple[Stage, ...]:
    """The stages that run for a video."""
    by_kind: dict[Kind, tuple[Stage, ...]] = {
        "full": get_args(Stage),
        "preview": ("stage_one",),
        "commit": ("stage_two",),
    }
    return by_kind[kind]


def enqueue(service: Service, new: NewVideo) -> Accepted:
    """Accept a video, if it is not too much: for its own cost, or for what waits already.

    Raises:
        ApiError: it is too much.
        KeyReused: the idempotency key is known with another request.
    """
    _check_cost(service, new)
    limits = service.config.limits
    try:
        return accept(
            service.engine,
            service.client,
            new,
            max_queued=limits.max_queued,
            max_queued_per_tenant=limits.max_queued_per_tenant,
        )
    except QueueFull as error:
        wait = retry_after(place_free_after_s(pace(service, stages_of(new.kind)[0]), UNKNOWN_RETRY_S))
        message = f"{error.num_queued} videos wait already ({error.scope}); try again after retry-after"
        if error.scope == "tenant":
            raise ApiError(429, "rate_limit_exceeded", message, headers=wait) from None
        raise ApiError(503, "overloaded", message, headers=wait) from None


def pace(service: Service, stage: Stage) -> StagePace:
    """How fast a stage works, as measured."""
    replicas = service.config.stage_one if stage == "stage_one" else service.config.stage_two
    return StagePace(stage_load(service.engine, stage).mean_device_s, replicas.max_replicas)


def work_seconds(service: Service, kind: Kind, request: VideoRequest, paces: dict[Stage, StagePace]) -> float | None:
    """Device seconds of all stages of a video; None before they were measured."""
    usual = service.checkpoint.request("usual", seed=0)
    each = [stage_seconds(request, usual, stage, paces[stage]) for stage in stages_of(kind)]
    return None if any(seconds is None for seconds in each) else sum(filter(None, each))


def _check_cost(service: Service, new: NewVideo) -> None:
    if (most := service.config.limits.max_device_seconds) is None:
        return
    paces = {stage: pace(service, stage) for stage in stages_of(new.kind)}
    seconds = work_seconds(service, new.kind, new.request, paces)
    if seconds is not None and seconds > most:
        message = (
            f"the video would take about {seconds:.0f} device seconds; allowed are {most:g}; "
            "ask for fewer steps, frames or pixels"
        )
        raise ApiError(400, "too_expensive", message)
