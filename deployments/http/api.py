"""The HTTP application of the service: OpenAI's video protocol, and what FlashVideo adds to it."""

from __future__ import annotations

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from deployments.http import (
    batches,
    content,
    events,
    files,
    metrics,
    model_list,
    probes,
    prompts,
    routes,
    unsupported,
)
from deployments.http.auth import Auth
from deployments.http.errors import add_error_handlers
from deployments.http.limits import RequestLimits
from deployments.http.openapi import document
from deployments.http.request_log import RequestLog
from deployments.http.service import Service
from fv_ray import __version__


def make_api(service: Service) -> FastAPI:
    """The application over a service, as any ASGI server runs it."""
    api = FastAPI(
        title="fv-ray",
        version=__version__,
        summary="FlashVideo: preview a video, adjust its prompt, commit it",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    registry = CollectorRegistry()
    registry.register(metrics.JobMetrics(service))
    api.state.service, api.state.registry = service, registry
    api.state.event_streams = events.EventStreams(service.config.limits)
    api.state.readiness = probes.Readiness(service)
    rooms = (unsupported, routes, prompts, content, events, files, batches, model_list, probes, metrics)
    for module in rooms:  # fixed paths before ids
        api.include_router(module.router)
    add_error_handlers(api)
    # The last one stands outermost: a line for every request, the key before anything is read.
    api.add_middleware(RequestLimits, limits=service.config.limits, batches=service.config.batches)
    api.add_middleware(Auth, api_key=service.config.api_key)
    api.add_middleware(RequestLog, metrics=metrics.RequestMetrics(registry))
    api.openapi_schema = document(api, service.config)
    return api
