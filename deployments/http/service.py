"""All that the API works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import sqlalchemy as sa
from dbos import DBOSClient
from fastapi import Depends, Request

from deployments.config import AppConfig
from fv_ray.artifact_store import ArtifactStore
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.file_store import FileStore
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import VideoRequest

TENANT = "default"
"""Whose videos a request sees. One static key is one tenant."""


EnhanceCall = Callable[[str, int, bool], Awaitable[Enhanced]]
"""A prompt, a seed, and whether it is enhanced however long it is. Raises `EnhancerUnavailable`."""


@dataclass(frozen=True)
class Service:
    """The service as its ingress sees it: no models, no Ray."""

    config: AppConfig
    checkpoint: CheckpointInfo
    engine: sa.Engine
    client: DBOSClient
    """Puts accepted videos into their queue."""
    store: ArtifactStore
    files: FileStore
    """In the same place as the store, which reads them."""
    enhance: EnhanceCall | None = None
    """None where no enhancer is deployed."""

    @cached_property
    def usual(self) -> VideoRequest:
        """A request of the default preset, as those are of which a stage's pace is measured."""
        return self.checkpoint.request("usual", seed=0)


async def _service(request: Request) -> Service:  # a plain function would be run in a thread
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
