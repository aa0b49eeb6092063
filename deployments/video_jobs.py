"""Videos as durable workflows: one for each try of a stage, which leads to the next one until the video has ended.

An orchestrator that takes a workflow over runs it again. All that it does is idempotent: the rows say what is left to
do, and the store keeps the first result of a work. A video that waits for its next try is in DBOS' hands, not in ours.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
    remake_preview,
)
from deployments.database.records import COUNTED, Attempt, DatabaseUnavailable, Outcome, ResultRemoved
from deployments.job_names import RUN_STAGE
from deployments.stage_stream import CancelRequested, StageCall, follow
from deployments.stage_work import Done, StageWork, Step
from deployments.workflow_retries import LAST_RETRY_S, run_through
from fv_ray.artifact_store import Stage

STAGE_ONE_PERCENT = 30  # of a full video, as the released model's stages take 30 and 70 seconds
CANCELLED = Ending("cancelled", "cancelled", "The video was cancelled.")

T = TypeVar("T")
logger = logging.getLogger(f"ray.serve.{__name__}")


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
        async def run_stage(video_id: str, stage: Stage, number: int) -> None:
            # Where an attempt cannot be closed, since there is none, it waits here.
            await run_through(self.attempt, video_id, stage, number, first_retry_s=self.first_retry_s)

    async def attempt(self, video_id: str, stage: Stage, number: int) -> None:
        """Try a stage of a video once; what follows from it is in the rows and in the queue."""
        attempt = await self._ask(partial(begin_attempt, self.engine, video_id, stage, number))
        if attempt is None:
            return
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
            ending = ending_of(error, attempt.num_counted, attempt.video.kind)
            told = error if ending.outcome in COUNTED else None
            logger.warning("%s of %s: %s (%r)", stage, video_id, ending.outcome, error, exc_info=told)
        else:
            return
        await self._end(attempt, ending)

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

    async def _end(self, attempt: Attempt, ending: Ending) -> None:
        if ending.code is not None:
            await self._ask(partial(fail, self.engine, attempt, ending.outcome, ending.code, ending.message))
            return
        if ending.remakes_preview:
            await self._ask(partial(remake_preview, self.engine, self.client, attempt))
            return
        # Twice as late each time, and never in step with others.
        wait_s = min(self.first_retry_s * 2 ** min(attempt.number - 1, 10), LAST_RETRY_S) * random.uniform(0.8, 1.2)
        close = partial(close_attempt, self.engine, self.client, attempt, ending.outcome)
        await self._ask(partial(close, retry_in_s=wait_s))

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
