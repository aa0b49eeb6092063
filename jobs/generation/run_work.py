"""A stage's work to its record or to the error of its rows; it runs in an actor and ends no other row's run.

Whatever a row does ends with the row: numbers that are none, too little memory, files without content, an error that
nobody foresaw, a step that hangs, a process that dies of it. A store that is down ends the launch: it is given again.
"""

from __future__ import annotations

import faulthandler
import os
import platform
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import ray
from ray.actor import ActorHandle

from fv_ray.artifact_store import ArtifactStore, Stage, StageRecord
from fv_ray.blobs import open_blobs
from fv_ray.errors import (
    ArtifactDamaged,
    DeviceFailed,
    DeviceOutOfMemory,
    FvRayError,
    InputError,
    NumericalError,
    StorageError,
)
from fv_ray.sidecar import PhaseSeconds
from fv_ray.storage import storage_errors
from fv_ray.types import OnProgress, Progress
from fv_ray.works import Work, fetch, keep, run_timed
from jobs.generation.ask_store import PATIENCE_S, ask
from jobs.generation.mark_rows import RowError, RowMarks

MAX_ATTEMPTS = 3
"""That a row may spoil."""
_TERMINAL = (ArtifactDamaged, InputError, NumericalError)
"""Would only come again."""


MADE, FAILED, LEFT = "made", "failed", "left"


@dataclass(frozen=True)
class Outcome:
    """What has come of a work: it is made, has failed, or is left to another launch, since this one drains."""

    status: str
    record: StageRecord | None = None


class Spoiled(Exception):
    """Attempts have come to nothing."""

    def __init__(self, code: str, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.code, self.is_final = code, is_final


class WorkRunner:
    """Runs works of one stage in an actor."""

    def __init__(
        self,
        stage: Stage,
        *,
        store_url: str,
        previews_url: str,
        board: ActorHandle,
        device_name: str,
        stall_s: float,
    ) -> None:
        context = ray.get_runtime_context()
        self._stage, self._board, self._stall_s = stage, board, stall_s
        self._device_name = device_name
        self._actor, self._node = context.get_actor_id() or "", context.get_node_id()
        self._store = ArtifactStore(open_blobs(store_url), PATIENCE_S)
        self._previews = ArtifactStore(open_blobs(previews_url), PATIENCE_S)
        self._marks = RowMarks(open_blobs(store_url))

    def run(self, key: str, build: Callable[[], Work], row_keys: Sequence[str]) -> Outcome:
        """Find a work's record or make it; else note the error of each of its rows.

        Args:
            key: by which the board and the marks know it.
            build: gives the work.
            row_keys: of the rows that fail with it.

        Raises:
            StorageError: the store does not answer, or refuses.
        """
        num_died = ray.get(self._board.begin.remote(self._stage, key, self._actor, self._node))
        if num_died is None:
            return Outcome(LEFT)
        figures: dict[str, float] = defaultdict(float)
        phases = PhaseSeconds()
        try:
            outcome = Outcome(MADE, self._made(key, build, num_died, figures, phases))
        except Spoiled as spoiled:
            outcome = Outcome(FAILED)
            figures["num_failed"] += 1
            self._give_up(row_keys, spoiled, num_died + int(figures["num_tried"]))
        told = dict(phases.seconds) if figures["num_made"] else {}
        ray.get(self._board.end.remote(self._stage, key, self._actor, dict(figures), told))
        return outcome

    def _made(
        self, key: str, build: Callable[[], Work], num_died: int, figures: dict[str, float], phases: PhaseSeconds
    ) -> StageRecord:
        if num_died >= MAX_ATTEMPTS:
            message = f"{num_died} processes died of it or hung, at most {MAX_ATTEMPTS} may; change the request"
            raise Spoiled("crash_loop", message, is_final=True)
        with _spoils():
            work = build()
        if (found := ask(self._store.find_whole, work.key)) is not None:
            figures["num_reused"] += 1
            return found
        with self._marks.begun(key, self._stage):
            while True:
                figures["num_tried"] += 1
                start = perf_counter()
                try:
                    with _spoils():
                        record = self._attempt(work, phases)
                except Spoiled as spoiled:
                    figures["failed_s"] += perf_counter() - start
                    most = 2 if spoiled.code == "out_of_memory" else MAX_ATTEMPTS
                    if spoiled.is_final or num_died + figures["num_tried"] >= most:
                        raise
                    continue
                figures["num_made"] += 1
                figures["useful_s"] += record.device_seconds
                return record

    def _attempt(self, work: Work, phases: PhaseSeconds) -> StageRecord:
        with storage_errors("the actor's folder for temporary files"):
            place = TemporaryDirectory(prefix="fv-ray.")
        with place as folder:
            given, made = Path(folder) / "given", Path(folder) / "made"
            with storage_errors(folder):
                given.mkdir()
                made.mkdir()
            ask(fetch, self._previews, work.inputs, given)
            try:
                seconds = run_timed(work.make, given, made, self._watched(phases))
            except DeviceFailed:
                os._exit(1)  # only another process can use the device; this one's death counts
            finally:
                faulthandler.cancel_dump_traceback_later()
            device = self._device_name
            return keep(self._store, work.key, work.stage, made, device=device, device_seconds=seconds)

    def _watched(self, phases: PhaseSeconds) -> OnProgress:
        """Progress that ends the process where it stops: a step in CUDA cannot be interrupted, nor end by itself."""
        faulthandler.dump_traceback_later(self._stall_s, exit=True)

        def on_progress(progress: Progress) -> None:
            phases(progress)
            faulthandler.dump_traceback_later(self._stall_s, exit=True)

        return on_progress

    def _give_up(self, row_keys: Sequence[str], spoiled: Spoiled, attempts: int) -> None:
        error = RowError(
            stage=self._stage,
            code=spoiled.code,
            message=str(spoiled),
            attempts=max(attempts, 1),
            node=platform.node(),
            created_at=datetime.now(UTC),
        )
        for key in row_keys:
            self._marks.give_up(key, error)


@contextmanager
def _spoils() -> Iterator[None]:
    """Tell what is a row's own fault as `Spoiled`; what is the store's ends the launch."""
    try:
        yield
    except _TERMINAL as error:
        raise Spoiled(_code(error), str(error), is_final=True) from error
    except StorageError:
        raise
    except DeviceOutOfMemory as error:
        message = f"the device has too little memory for it ({error}); make it smaller"
        raise Spoiled("out_of_memory", message, is_final=False) from error
    except FvRayError as error:
        raise Spoiled(_code(error), str(error), is_final=False) from error
    except Exception as error:
        message = next(iter(str(error).splitlines()), "")
        raise Spoiled("unexpected_error", f"{type(error).__name__}: {message}", is_final=False) from error


def _code(error: Exception) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
