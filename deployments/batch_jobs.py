"""Batches as durable workflows: one for each, which brings its batch on piece by piece until it has ended.

A piece is one transaction, or what may be done twice: whoever takes a workflow over goes on with what its rows say.
Only some rows of a batch are in the queue of videos at a time, behind all videos that come in no batch.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from dbos import DBOS

from deployments.batch_files import check_rows, read_input, write_output
from deployments.database.batch_records import BatchRecord, CheckedRow, InputFault, RowRefusal
from deployments.database.batch_steps import (
    add_rows,
    begin_ending,
    collect,
    end,
    load_batch,
    next_rows,
    refuse,
    start,
    submit,
)
from deployments.database.files import input_file
from deployments.database.records import NotThere
from deployments.database.videos import cancel
from deployments.http.service import Service
from deployments.job_names import RUN_BATCH
from deployments.workflow_retries import run_through
from fv_ray.errors import ArtifactDamaged

ROWS_AT_ONCE = 10
"""That become videos in one transaction: on SQLite nobody else writes meanwhile."""
PAUSE_S = 0.05
"""Between two such transactions, in which others write."""
INPUT_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class BatchJobs:
    """What the workflows of a process work with."""

    service: Service

    def register(self) -> None:
        """Make the workflow known to DBOS, before it is launched."""

        # As a video's: a workflow that has died many times is no worse for it.
        @DBOS.workflow(name=RUN_BATCH, max_recovery_attempts=None)
        async def run_batch(batch_id: str) -> None:
            await run_through(self.run, batch_id, first_retry_s=self.service.config.first_retry_s)

    async def run(self, batch_id: str) -> None:
        """Bring a batch to its end."""
        while (wait_s := await asyncio.to_thread(self.advance, batch_id)) is not None:
            await asyncio.sleep(wait_s)

    def advance(self, batch_id: str) -> float | None:
        """Do the next piece of a batch; in how many seconds the one after it is due; None where there is none.

        Raises:
            DatabaseUnavailable: of the piece nothing is done.
            StorageError: as above.
        """
        batch = load_batch(self.service.engine, batch_id)
        if batch is None or batch.ended_at is not None:
            return None
        if batch.state == "validating":
            return self._validate(batch)
        if batch.state == "in_progress":
            return self._bring_on(batch)
        return self._end(batch)

    def _validate(self, batch: BatchRecord) -> float:
        engine = self.service.engine
        try:
            rows, faults = read_input(self.service.store, input_file(engine, batch.tenant, batch.input_file_id))
        except ArtifactDamaged:
            rows, faults = [], [InputFault("file_damaged", "the stored input file is damaged; upload it again")]
        if faults:
            refuse(engine, batch, faults)
            return 0.0
        for first in range(0, len(rows), INPUT_ROWS_AT_ONCE):
            add_rows(engine, batch, rows[first : first + INPUT_ROWS_AT_ONCE])
        start(engine, batch, len(rows))
        return 0.0

    def _bring_on(self, batch: BatchRecord) -> float:
        engine, limits = self.service.engine, self.service.config.batches
        open_videos = collect(engine, batch)
        if time.time() >= batch.expires_at:
            begin_ending(engine, batch, "expired")
            return 0.0
        room = min(ROWS_AT_ONCE, limits.max_open_rows - len(open_videos))
        if room <= 0:
            return limits.look_every_s
        if self._submit(batch, room):
            return PAUSE_S
        if open_videos:
            return limits.look_every_s
        begin_ending(engine, batch, "completed")
        return 0.0

    def _submit(self, batch: BatchRecord, most: int) -> bool:
        """Make the next rows videos; False where there are none."""
        service = self.service
        rows = next_rows(service.engine, batch, most)
        if not rows:
            return False
        try:
            checked = check_rows(service, batch, input_file(service.engine, batch.tenant, batch.input_file_id), rows)
        except ArtifactDamaged:
            damaged = RowRefusal(500, "file_damaged", "the stored input file is damaged; upload it again")
            checked = [CheckedRow(row.line, damaged) for row in rows]
        submit(service.engine, service.client, batch, checked)
        return True

    def _end(self, batch: BatchRecord) -> float:
        """Take back what is open, and write the files when nothing is."""
        engine = self.service.engine
        open_videos = collect(engine, batch)
        for video_id in open_videos:
            with suppress(NotThere):  # somebody has deleted it, and it will end by that
                cancel(engine, batch.tenant, video_id)
        if open_videos and collect(engine, batch):
            return self.service.config.batches.look_every_s
        end(engine, batch, write_output(self.service, batch))
        return 0.0
