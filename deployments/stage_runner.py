"""One run of a stage: is it done already, make it on the device, keep it. What both stages' replicas share.

The replica commits the result, not its caller: where the caller dies, the work goes on and the next one finds it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TypeVar

from deployments.device_thread import DeviceThread, wait_for_end
from deployments.stage_progress import stage_progress
from deployments.stage_work import Done, Step
from fv_ray.artifact_store import Artifact, ArtifactStore, Stage
from fv_ray.storage import storage_errors
from fv_ray.types import Progress
from fv_ray.works import Make, fetch, keep, run_timed

STORE_PATIENCE_S = 300
"""How long a result, which has cost a device minutes, waits for a store that does not answer."""
TELL_EVERY_S = 5.0
MIN_STEP_S = 0.1
"""Steps that come sooner after one that was told are not: each costs the device's process CPU time."""

T = TypeVar("T")


class StageRunner:
    """Runs works of one stage, one at a time."""

    def __init__(self, stage: Stage, storage_url: str, device_name: str, *, stall_s: float) -> None:
        self._stage = stage
        self._store = ArtifactStore.open(storage_url, patience_s=STORE_PATIENCE_S)
        self._device_name = device_name
        self._thread = DeviceThread(stall_s)

    async def run(
        self, work_key: str, make: Make, inputs: Mapping[str, Artifact] | None = None
    ) -> AsyncGenerator[Step | Done, None]:
        """Tell the steps of a work, then where its result lies.

        Args:
            work_key: of the work.
            make: makes it, blocking.
            inputs: files that it reads, by the name that it expects.

        Raises:
            ArtifactDamaged: an input is missing or not what was stored.
            DeviceFailed: the device is of no more use to this process.
            DeviceOutOfMemory: the work needs more memory than there is.
            FvRayError: as `make` does.
            WorkRefused: this replica is to be replaced.
        """
        self.check()
        async for found in self._ask_store(0.0, partial(self._store.find_whole, work_key)):
            if isinstance(found, Step):
                yield found
            elif found is not None:
                yield Done(record=found, is_reused=True)
                return
        with storage_errors("the replica's folder for temporary files"):
            place = TemporaryDirectory(prefix="fv-ray.")
        with place as folder:
            async with aclosing(self._make(work_key, make, inputs or {}, Path(folder))) as making:
                async for told in making:
                    yield told

    def check(self) -> None:
        """See that the device can be used. Raises: WorkRefused."""
        self._thread.check()

    async def _make(
        self, work_key: str, make: Make, inputs: Mapping[str, Artifact], folder: Path
    ) -> AsyncGenerator[Step | Done, None]:
        given, made = folder / "given", folder / "made"
        with storage_errors(folder):
            given.mkdir()
            made.mkdir()
        async for fetched in self._ask_store(0.0, partial(fetch, self._store, inputs, given)):
            if isinstance(fetched, Step):
                yield fetched
        told_at = -math.inf
        async with aclosing(self._thread.run(partial(run_timed, make, given, made))) as work:
            async for told in work:
                if not isinstance(told, Progress):
                    seconds = told
                elif monotonic() >= told_at + MIN_STEP_S:
                    told_at = monotonic()
                    yield self._step(told)
        commit = partial(keep, self._store, work_key, self._stage, made)
        async for record in self._ask_store(1.0, partial(commit, device=self._device_name, device_seconds=seconds)):
            yield record if isinstance(record, Step) else Done(record=record, is_reused=False)

    def _step(self, progress: Progress) -> Step:
        return Step(
            phase=progress.phase,
            step=progress.step,
            num_steps=progress.num_steps,
            progress=stage_progress(self._stage, progress),
        )

    async def _ask_store(self, progress: float, call: Callable[[], T]) -> AsyncGenerator[Step | T, None]:
        """Steps while the store is asked, so that nobody thinks that this hangs, then its answer."""
        asking = asyncio.ensure_future(asyncio.to_thread(call))
        try:
            yield Step(phase="store", step=0, num_steps=1, progress=progress)
            while not (await asyncio.wait([asking], timeout=TELL_EVERY_S))[0]:
                yield Step(phase="store", step=0, num_steps=1, progress=progress)
        finally:
            await wait_for_end(asking)
        yield asking.result()
