"""Whether this process lives, and whether it can take work."""

from __future__ import annotations

import math
import threading
import time
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from deployments.database.records import DatabaseUnavailable
from deployments.database.videos import check
from deployments.http.service import Service
from fv_ray.errors import StorageError

router = APIRouter(tags=["operations"])

LOOK_EVERY_S = 1.0


class Health(BaseModel):
    """It is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Alive")
async def alive() -> Health:
    """Needs no key, and asks nobody."""
    return Health()


@router.get("/readyz", summary="Ready for work")
def ready(request: Request) -> Health:
    """Needs no key. Whether the database and the store of results take what they are given; 503 where not."""
    readiness: Readiness = request.app.state.readiness
    readiness.check()
    return Health()


class Readiness:
    """What was found when it was looked last, so that those who have no key make no more than a few writes."""

    def __init__(self, service: Service) -> None:
        self.service, self.looking = service, threading.Lock()
        self.looked_at = -math.inf
        self.found: Exception | None = None

    def check(self) -> None:
        """See that the service can work. Raises: DatabaseUnavailable, StorageError."""
        with self.looking:
            if time.monotonic() > self.looked_at + LOOK_EVERY_S:
                self.found = self._look()
                self.looked_at = time.monotonic()
            if self.found is not None:
                raise self.found

    def _look(self) -> Exception | None:
        try:
            check(self.service.engine)
            self.service.store.check()
        except (DatabaseUnavailable, StorageError) as error:
            return error
        return None
