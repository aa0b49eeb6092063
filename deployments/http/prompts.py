"""Prompts by themselves: enhanced without making a video, so that a person can read and edit them first."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from deployments.http.bodies import EnhanceBody
from deployments.http.enhancing import enhanced
from deployments.http.forms import read_body
from deployments.http.new_videos import check_prompt
from deployments.http.openapi import ENHANCES, request_body
from deployments.http.service import TheService
from fv_ray.prompts.enhanced import EnhancerKind, Motion, Outcome

router = APIRouter(tags=["prompts"])


class EnhancedPrompt(BaseModel):
    """A prompt and what became of it."""

    object: Literal["enhanced_prompt"] = "enhanced_prompt"
    prompt: str
    """As it was sent."""
    enhanced_prompt: str | None
    """Null where the sent one would be used as it is; outcome says why."""
    outcome: Outcome
    kind: EnhancerKind
    motion: Motion | None
    notes: Annotated[list[str], Field(description="For people: what was chosen, left out, mended or refused.")]


async def _enhance_body(request: Request) -> EnhanceBody:
    return await read_body(request, EnhanceBody)


@router.post(
    "/v1/prompts/enhance", summary="Enhance a prompt", responses=ENHANCES, openapi_extra=request_body(EnhanceBody)
)
async def enhance(service: TheService, body: Annotated[EnhanceBody, Depends(_enhance_body)]) -> EnhancedPrompt:
    """What a new video of this prompt and seed would be made of. Nothing is stored."""
    check_prompt(service, body.prompt)
    told = await enhanced(service, body.prompt, body.seed, body.enhance_prompt)
    return EnhancedPrompt.model_validate(told.model_dump())
