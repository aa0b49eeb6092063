"""Videos as durable workflows: one for each stage of a video, tried until it is done, has failed or is cancelled.

Each attempt is a step of the workflow, so that an orchestrator that takes over goes on where the last one was. All that
an attempt does is idempotent: the rows say what is left to do, and the store keeps the first result of a work.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSClient
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from deployments.attempt_ending import Ending, ending_of
from deployments.database.attempts import (
    begin_attempt,
    cancel_requested,
    close_attempt,
    fail,
    finish_stage,
    record_progress,
)
from deployments.database.records import COUNTED, Attempt, DatabaseUnavailable, Outcome, ResultRemoved
from deployments.job_names import RUN_STAGE
from deployments.stage_stream import CancelRequested, StageCall, follow
from deployments.stage_work import Done, StageWork, Step
from fv_ray.artifact_store import Stage

STAGE_ONE_PERCENT = 30  # of a full video, as the released model's stages take 30 and 70 seconds
LAST_RETRY_S = 300.0
CANCELLED = Ending("cancelled", "cancelled", "The video was cancelled.")

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageAccess:
    """How an orchestrator reaches a stage."""

    call: StageCall
    stall_s: float
    """How long a step may take."""
    keep_s: float
    """How long a result is kept."""


@dataclass(frozen=True)
class VideoJobs:
    """What the workflows of a process work with."""

    engine: sa.Engine
    client: DBOSClient
    stages: Mapping[Stage, StageAccess]
    first_retry_s: float

    def register(self) -> None:
        """Make the workflow known to DBOS, before it is launched."""

        # A workflow that has died many times is no worse for it: attempts that count are counted in the rows.
        @DBOS.workflow(name=RUN_STAGE, max_recovery_attempts=None)
        async def run_stage(video_id: str, stage: Stage) -> None:
            for num_retries in count():
                try_at = await DBOS.run_step_async({"name": "attempt"}, self.attempt, video_id, stage, num_retries)
                if try_at is None:
                    return
                await asyncio.sleep(try_at - time.time())  # what is cancelled meanwhile has nothing left to do

    async def attempt(self, video_id: str, stage: Stage, num_retries: int) -> float | None:
        """Try a stage of a video once; gives the Unix time of the next try, where there is to be one."""
        try:
            return await self._attempt(video_id, stage, num_retries)
        except Exception:  # a fault of ours strands no video
            logger.exception("an attempt of %s at %s failed within the orchestrator", stage, video_id)
            return self._try_at(num_retries)

    async def _attempt(self, video_id: str, stage: Stage, num_retries: int) -> float | None:
        attempt = await self._ask(partial(begin_attempt, self.engine, video_id, stage))
        if attempt is None:
            return None
        try:
            done = await self._run(attempt)
            outcome: Outcome = "reused" if done.is_reused else "done"
            finish = partial(finish_stage, self.engine, self.client, attempt, done.record, outcome)
            await self._ask(partial(finish, keep_s=self.stages[stage].keep_s))
        except CancelRequested:
            ending = CANCELLED
        except ResultRemoved:
            ending = Ending("refused")  # the next attempt finds nothing, and makes it anew
        except Exception as error:
            ending = ending_of(error, attempt.num_counted)
            told = error if ending.outcome in COUNTED else None
            logger.warning("%s of %s: %s (%r)", stage, video_id, ending.outcome, error, exc_info=told)
        else:
            return None
        return await self._end(attempt, ending, num_retries)

    async def _run(self, attempt: Attempt) -> Done:
        video, stage = attempt.video, self.stages[attempt.stage]
        work = StageWork(
            video_id=video.id,
            stage=attempt.stage,
            request=video.request,
            salt=video.tenant,
            preview=video.preview if attempt.stage == "stage_two" else None,
        )
        return await follow(stage.call(work), stall_s=stage.stall_s, look=partial(self._look, attempt))

    async def _look(self, attempt: Attempt, step: Step | None) -> bool:
        """Tell progress; whether to cancel. A database that is away stops no running stage."""
        video_id = attempt.video.id
        try:
            if step is None:
                return bool(await asyncio.to_thread(cancel_requested, self.engine, [video_id]))
            percent = _percent(attempt, step)
            data = {"phase": step.phase, "step": step.step, "num_steps": step.num_steps}
            return await asyncio.to_thread(record_progress, self.engine, attempt, percent, data)
        except DatabaseUnavailable:
            return False

    async def _end(self, attempt: Attempt, ending: Ending, num_retries: int) -> float | None:
        if ending.code is None:
            await self._ask(partial(close_attempt, self.engine, attempt, ending.outcome))
            return self._try_at(num_retries)
        await self._ask(partial(fail, self.engine, attempt, ending.outcome, ending.code, ending.message))
        return None

    def _try_at(self, num_retries: int) -> float:
        """Twice as late each time, up to five minutes, and never in step with others."""
        wait_s = min(self.first_retry_s * 2 ** min(num_retries, 10), LAST_RETRY_S)
        return time.time() + wait_s * random.uniform(0.8, 1.2)

    async def _ask(self, transaction: Callable[[], T]) -> T:
        """Run a transaction in a thread until the database has taken it."""
        waiting = wait_random_exponential(multiplier=0.5, max=10)
        retrying = AsyncRetrying(retry=retry_if_exception_type(DatabaseUnavailable), wait=waiting)
        return await retrying(asyncio.to_thread, transaction)


def _percent(attempt: Attempt, step: Step) -> int:
    """Of the video."""
    if attempt.video.kind != "full":
        return int(100 * step.progress)
    if attempt.stage == "stage_one":
        return int(STAGE_ONE_PERCENT * step.progress)
    return STAGE_ONE_PERCENT + int((100 - STAGE_ONE_PERCENT) * step.progress)
