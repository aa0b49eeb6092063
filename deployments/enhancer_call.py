"""How the service asks its enhancer: in limited time, with a second try, with errors for callers without Ray."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.config import AppConfig
from deployments.http.service import EnhanceCall
from fv_ray.errors import EnhancerUnavailable
from fv_ray.prompts.enhanced import Enhanced

logger = logging.getLogger(f"ray.serve.{__name__}")


def enhance_call(config: AppConfig, handle: DeploymentHandle | None) -> EnhanceCall | None:
    """The service's enhancer; None where none is deployed."""
    if handle is None or config.enhancer is None:
        return None
    return over_handle(handle, config.enhancer.timeout_s)


def over_handle(handle: DeploymentHandle, timeout_s: float) -> EnhanceCall:
    """An enhancer that is reached through Serve.

    The call raises `EnhancerUnavailable` where there is no answer in time. Whoever cancels it ends the work in the
    replica too.
    """

    async def call(prompt: str, seed: int, is_forced: bool) -> Enhanced:
        try:
            async with asyncio.timeout(timeout_s):
                return await _with_second_try(handle, prompt, seed, is_forced=is_forced)
        except TimeoutError:
            raise EnhancerUnavailable(f"the prompt enhancer gave no answer in {timeout_s:g} s; ask again") from None

    return call


async def _with_second_try(handle: DeploymentHandle, prompt: str, seed: int, *, is_forced: bool) -> Enhanced:
    try:
        return await _ask(handle, prompt, seed, is_forced=is_forced)
    except _ReplicaLost as error:
        logger.warning("the prompt enhancer's replica was lost, another one is asked: %s", error)
    try:
        return await _ask(handle, prompt, seed, is_forced=is_forced)
    except _ReplicaLost:
        raise EnhancerUnavailable("the prompt enhancer's replica was lost twice; ask again") from None


class _ReplicaLost(Exception):
    """The replica died, or none took the request."""


async def _ask(handle: DeploymentHandle, prompt: str, seed: int, *, is_forced: bool) -> Enhanced:
    response: Any = handle.enhance.remote(prompt, seed, is_forced=is_forced)
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, EnhancerUnavailable):
            raise EnhancerUnavailable(str(cause)) from None
        logger.exception("the prompt enhancer failed")
        raise EnhancerUnavailable("the prompt enhancer failed; ask who runs this") from None
    except (RayError, RayServeException) as error:
        raise _ReplicaLost(type(error).__name__) from error
