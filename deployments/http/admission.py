"""Whether a new video may wait in the queue: its own cost, and what waits already, against the limits."""

from __future__ import annotations

from typing import get_args

from deployments.database.acceptance import accept
from deployments.database.records import Accepted, Kind, NewVideo, QueueFull
from deployments.database.videos import mean_device_seconds
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
    check_cost(service, new)
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
        stage = stages_of(new.kind)[0]
        wait = retry_after(place_free_after_s(paces(service, new.kind)[stage], UNKNOWN_RETRY_S))
        message = f"{error.num_queued} videos wait already ({error.scope}); try again after retry-after"
        if error.scope == "tenant":
            raise ApiError(429, "rate_limit_exceeded", message, headers=wait) from None
        raise ApiError(503, "overloaded", message, headers=wait) from None


def paces(service: Service, kind: Kind) -> dict[Stage, StagePace]:
    """How fast the stages of a video work, as measured."""
    config = {"stage_one": service.config.stage_one, "stage_two": service.config.stage_two}
    means = mean_device_seconds(service.engine, stages_of(kind))
    return {stage: StagePace(mean_s, config[stage].max_replicas) for stage, mean_s in means.items()}


def work_seconds(service: Service, request: VideoRequest, of_stages: dict[Stage, StagePace]) -> float | None:
    """Device seconds of a video's stages; None before they were measured."""
    each = [stage_seconds(request, service.usual, stage, pace) for stage, pace in of_stages.items()]
    return None if any(seconds is None for seconds in each) else sum(filter(None, each))


def check_cost(service: Service, new: NewVideo) -> None:
    """Refuse a video that would take too long. Raises: ApiError."""
    if (most := service.config.limits.max_device_seconds) is None:
        return
    seconds = work_seconds(service, new.request, paces(service, new.kind))
    if seconds is not None and seconds > most:
        message = (
            f"the video would take about {seconds:.0f} device seconds; allowed are {most:g}; "
            "ask for fewer steps, frames or pixels"
        )
        raise ApiError(400, "too_expensive", message)
