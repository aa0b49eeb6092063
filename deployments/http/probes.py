"""Whether this process lives, and whether it can take work."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from deployments.database.videos import check
from deployments.http.service import TheService

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """It is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="Alive")
async def alive() -> Health:
    """Needs no key, and asks nobody."""
    return Health()


@router.get("/readyz", summary="Ready for work")
def ready(service: TheService) -> Health:
    """Needs no key. Whether the database and the store of results take what they are given; 503 where not."""
    check(service.engine)
    service.store.check()
    return Health()
