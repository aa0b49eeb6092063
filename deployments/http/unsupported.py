"""What OpenAI's protocol has and FlashVideo does not: told as such, never as an unknown URL."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.http.errors import ApiError, ErrorReply
from deployments.http.openapi import UNSUPPORTED
from fv_ray.checkpoint import shortened

router = APIRouter(tags=["not supported"], responses=UNSUPPORTED)


@router.post("/v1/videos/edits", summary="Not supported", status_code=400)
@router.post("/v1/videos/extensions", summary="Not supported", status_code=400)
@router.post("/v1/videos/characters", summary="Not supported", status_code=400)
def unsupported() -> ErrorReply:
    """FlashVideo makes videos of text alone."""
    raise _not_supported("edits, extensions and characters")


@router.get("/v1/videos/characters/{character_id}", summary="Not supported", status_code=400)
def unsupported_character(character_id: str) -> ErrorReply:
    """FlashVideo makes videos of text alone."""
    raise _not_supported(f"characters such as {shortened(character_id)}")


def _not_supported(what: str) -> ApiError:
    message = f"{what} are not supported; FlashVideo makes videos of text alone; use /v1/videos and remix"
    return ApiError(400, "unsupported_parameter", message)
