"""The one thread that uses a device: a blocking run becomes a stream, and the next one waits until it has really ended.

Serve frees a replica's slot as soon as a request is cancelled, while the step that it was in goes on; two runs on one
device at a time would be out of memory. Knows no Ray.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from deployments.stage_work import WorkRefused
from fv_ray.errors import DeviceFailed
from fv_ray.types import OnProgress, Progress

Result = TypeVar("Result")


class Stopped(Exception):
    """Raised within a run whose caller is gone, at its next step."""


class DeviceThread:
    """Runs blocking work one after the other, tells its progress, and knows since when a step has been running."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._free = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._heard_at: float | None = None
        self._failure: str | None = None

    async def run(self, work: Callable[[OnProgress], Result]) -> AsyncGenerator[Progress | Result, None]:
        """Do the work in the thread: its progress, then what it returns.

        Who closes the stream, or is cancelled at it, waits until the step at hand has ended: only then is the device
        free. The work ends there too, with `Stopped` raised from its callback.

        Raises:
            WorkRefused: the device is not to be used any more.
        """
        async with self._free:
            self.check()
            loop = asyncio.get_running_loop()
            told: asyncio.Queue[Progress | None] = asyncio.Queue()
            is_stopped = threading.Event()

            def on_progress(progress: Progress) -> None:
                if is_stopped.is_set():
                    raise Stopped
                self._heard_at = monotonic()
                loop.call_soon_threadsafe(told.put_nowait, progress)

            self._heard_at = monotonic()
            running = loop.run_in_executor(self._thread, work, on_progress)
            running.add_done_callback(lambda _: told.put_nowait(None))
            try:
                while (progress := await told.get()) is not None:
                    yield progress
                yield self._result(running)
            finally:
                is_stopped.set()
                await wait_for_end(running)
                self._heard_at = None

    def check(self) -> None:
        """See that the device can be used.

        Raises:
            WorkRefused: it has failed before, or hangs in a step.
        """
        if self._failure is not None:
            raise WorkRefused(
                f"the device failed before ({self._failure}); a process cannot use it again: wait for another replica"
            )
        if self.step_s > self._stall_s:
            raise WorkRefused(
                f"a step has been running for {self.step_s:.0f} s; allowed are {self._stall_s:.0f} s: "
                "wait for another replica"
            )

    @property
    def step_s(self) -> float:
        """How long the step at hand has been running; 0 where nothing runs."""
        heard_at = self._heard_at
        return 0.0 if heard_at is None else monotonic() - heard_at

    def _result(self, running: asyncio.Future[Result]) -> Result:
        try:
            return running.result()
        except DeviceFailed as error:
            self._failure = str(error)
            raise


async def wait_for_end(running: asyncio.Future[Result]) -> None:
    """Wait for the end of what cannot be cancelled, whoever is in a hurry."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    if not running.cancelled():
        running.exception()  # else asyncio reports that nobody asked for it
