"""A new video's prompt, enhanced before the video is accepted: what is stored is what the model reads, for ever."""

from __future__ import annotations

from dataclasses import replace

from deployments.database.records import NewVideo
from deployments.http.errors import UNAVAILABLE_RETRY_S, ApiError, retry_after
from deployments.http.service import Service
from fv_ray.errors import EnhancerUnavailable
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.prompts.enhancing import EnhancePrompt
from fv_ray.types import with_prompt

PARAM = "flashvideo.enhance_prompt"


async def enhanced_video(service: Service, new: NewVideo, wanted: EnhancePrompt | None) -> NewVideo:
    """The same video of the enhanced prompt.

    Args:
        service: with an enhancer or without.
        new: checked, of the user's prompt.
        wanted: None is auto where an enhancer is deployed, and never where none is.

    Raises:
        ApiError: there is no enhancer, or it does not answer and `enhancer.on_failure` is fail.
    """
    if wanted == "never" or (wanted is None and service.enhance is None):
        return new
    enhancement = await enhanced(service, new.request.prompt, new.request.seed, wanted or "auto")
    return replace(new, request=with_prompt(new.request, enhancement.told_prompt), enhancement=enhancement)


async def enhanced(service: Service, prompt: str, seed: int, wanted: EnhancePrompt) -> Enhanced:
    """A prompt and what became of it. Raises as `enhanced_video`."""
    config = service.config.enhancer
    if service.enhance is None or config is None:
        message = f"{PARAM} is {wanted!r} and this service has no prompt enhancer; leave it out, or send never"
        raise ApiError(400, "unsupported_parameter", message, param=PARAM)
    try:
        return await service.enhance(prompt, seed, wanted == "always")
    except EnhancerUnavailable as error:
        if config.on_failure == "fail":
            raise ApiError(
                503, "enhancer_unavailable", f"{error}; or send {PARAM}=never", headers=retry_after(UNAVAILABLE_RETRY_S)
            ) from None
        return Enhanced(prompt=prompt, kind=config.kind, outcome="unavailable", notes=(str(error),))
