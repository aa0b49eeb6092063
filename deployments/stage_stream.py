"""A stage's stream, followed to its end: `Step, Step, ... Done`. Sees a hung stage, and a request to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from time import monotonic

from deployments.stage_work import Done, StageWork, Step

StageCall = Callable[[StageWork], AsyncGenerator[Step | Done, None]]
"""Closing the stream cancels the work."""

LOOK_EVERY_S = 0.5


class CancelRequested(Exception):
    """The client wants the video no more."""


class StageStalled(Exception):
    """A stage has told nothing for longer than a step may take."""


class StreamCut(Exception):
    """A stage's stream was cancelled, and not by us: its replica is stopping."""


async def follow(
    stream: AsyncGenerator[Step | Done, None], *, stall_s: float, look: Callable[[Step | None], Awaitable[bool]]
) -> Done:
    """Read a stage's stream; it is closed, and so its work cancelled, where this raises.

    Args:
        stream: of one work.
        stall_s: how long a step may take. What has not begun waits for a replica, and cannot hang.
        look: called every half a second with the last step, where there is a new one; says whether to cancel.

    Raises:
        CancelRequested: `look` said so.
        StageStalled: a step takes too long.
        StreamCut: the replica cancelled the work.
        Exception: whatever the stage raises.
    """
    latest: Step | None = None
    heard_at, look_at = float("inf"), monotonic() + LOOK_EVERY_S
    coming = asyncio.ensure_future(_next(stream))
    try:
        while True:
            await asyncio.wait([coming], timeout=max(0.0, look_at - monotonic()))
            if coming.done():
                told = _told(coming)
                if isinstance(told, Done):
                    return told
                latest, heard_at = told, monotonic()
                coming = asyncio.ensure_future(_next(stream))
            elif monotonic() - heard_at > stall_s:
                raise StageStalled(f"no step for {stall_s:.0f} s")
            if monotonic() >= look_at:
                if await look(latest):
                    raise CancelRequested
                latest, look_at = None, monotonic() + LOOK_EVERY_S
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await coming
        await stream.aclose()


async def _next(stream: AsyncGenerator[Step | Done, None]) -> Step | Done | None:
    return await anext(stream, None)


def _told(coming: asyncio.Future[Step | Done | None]) -> Step | Done:
    if coming.cancelled():
        raise StreamCut("the replica cancelled the work")
    told = coming.result()
    if told is None:
        raise RuntimeError("the stage's stream ended without a result")
    return told
