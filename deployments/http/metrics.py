"""What Prometheus reads: requests as this process saw them, jobs as the database knows them.

Labels have few values: no ids, no prompts, no text of clients.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import get_args

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from deployments.database.records import DatabaseUnavailable, State
from deployments.database.videos import count_states, stage_load
from deployments.http.openapi import METRICS
from deployments.http.service import Service
from fv_ray.artifact_store import Stage

router = APIRouter()

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class RequestMetrics:
    """Counts and latency of requests by route, as this process saw them.

    Behind Serve each scrape reaches one ingress: without its name, the counts of several would be mixed in one series.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ingress = f"{platform.node()}-{os.getpid()}"
        self.requests = Counter(
            "fv_http_requests_total", "Requests answered.", ["ingress", "method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "fv_http_request_seconds",
            "From a request's headers to the end of its reply.",
            ["ingress", "method", "route"],
            buckets=SECONDS,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(self.ingress, method, route, str(status)).inc()
        self.seconds.labels(self.ingress, method, route).observe(seconds)


class JobMetrics(Collector):
    """Videos by state and the queue of each stage, asked for when they are read.

    Where the database does not answer they are left out, and the other metrics stay readable.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is known before it is asked for."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Ask the database."""
        engine = self.service.engine
        is_up = GaugeMetricFamily("fv_database_up", "Whether the database answers.")
        try:
            states = count_states(engine)
            loads = {stage: stage_load(engine, stage) for stage in get_args(Stage)}
        except DatabaseUnavailable:
            is_up.add_metric([], 0)
            yield is_up
            return
        is_up.add_metric([], 1)
        yield is_up
        jobs = GaugeMetricFamily("fv_jobs", "Videos that are kept, by state.", labels=["state"])
        for state in get_args(State):
            jobs.add_metric([state], states.get(state, 0))
        queued = GaugeMetricFamily("fv_queue_depth", "Videos that wait for a stage.", labels=["stage"])
        running = GaugeMetricFamily("fv_stage_running", "Videos that a stage works on.", labels=["stage"])
        seconds = GaugeMetricFamily("fv_stage_mean_seconds", "Device seconds of a stage's last runs.", labels=["stage"])
        for stage, load in loads.items():
            queued.add_metric([stage], load.num_queued)
            running.add_metric([stage], load.num_running)
            if load.mean_device_s is not None:
                seconds.add_metric([stage], load.mean_device_s)
        yield from (jobs, queued, running, seconds)


@router.get(
    "/metrics", summary="Metrics for Prometheus", response_class=Response, responses=METRICS, tags=["operations"]
)
def metrics(request: Request) -> Response:
    """Text in Prometheus' format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
