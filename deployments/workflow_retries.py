"""A workflow's body, repeated until it has run through: a fault of ours strands no video and no batch."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception_type, wait_random_exponential

LAST_RETRY_S = 300.0
"""The longest that anything waits for its next try, but for a random share."""

logger = logging.getLogger(f"ray.serve.{__name__}")


async def run_through(body: Callable[..., Awaitable[object]], *arguments: object, first_retry_s: float) -> None:
    """Await the body until it raises nothing; it must do no harm when it runs again. What it raises is logged."""
    waiting = wait_random_exponential(multiplier=first_retry_s, max=LAST_RETRY_S)
    telling = before_sleep_log(logger, logging.ERROR, exc_info=True)
    retrying = AsyncRetrying(retry=retry_if_exception_type(Exception), wait=waiting, before_sleep=telling)
    await retrying(body, *arguments)
