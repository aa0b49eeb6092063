"""Runs the pipeline until all is done, somebody asks for the end, or too many rows fail; tells how far it is.

SIGTERM and SIGINT drain: nobody begins a row any more, those at hand may be finished, then the launch ends. A second
signal ends it at once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Literal

import ray
from ray.actor import ActorHandle

from fv_ray.artifact_store import Stage
from jobs.generation.report_progress import ProgressReport
from jobs.generation.run_pipeline import Pipeline, run_pipeline
from jobs.generation.run_work import FAILED, LEFT
from jobs.generation.watch_rows import StageFigures, read_figures

RESUMABLE = 75
"""BSD's EX_TEMPFAIL: given again, the command goes on."""
_LOOK_EVERY_S = 0.5
_CLOSE_S = 20.0
"""For Ray Data to stop; it does not where its actors are still loading."""


class Signals:
    """What somebody outside wants."""

    def __init__(self) -> None:
        self.is_draining = False
        self.can_drain = False
        """Else a signal ends the process: nothing is at hand that could be finished."""
        self.is_leaving = False
        """Since a signal ends the process. What it interrupts may raise another error while it is closed."""

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """A signal handler."""
        if self.is_draining or not self.can_drain:
            self.is_leaving = True
            raise SystemExit(RESUMABLE)
        self.is_draining = True

    def listen(self) -> None:
        """Take the signals, also from Ray, which takes them when it starts."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self)


@contextmanager
def listening() -> Iterator[Signals]:
    """Take the signals until the end of the block; in the main thread alone."""
    signals = Signals()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signals.listen()
    try:
        yield signals
    except SystemExit as left:  # by a signal; Ray takes SIGTERM while it starts, and leaves with a status of its own
        raise SystemExit(RESUMABLE) from left
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Driven:
    """How the pipeline ended."""

    reason: Literal["done", "drained", "errors"]
    figures: Mapping[Stage, StageFigures]
    first_row_s: float | None


class _Rows(threading.Thread):
    """Takes rows from the pipeline, so that the main thread is free for signals."""

    def __init__(self, pipeline: Pipeline, board: ActorHandle) -> None:
        super().__init__(name="rows", daemon=True)
        self._pipeline, self._board, self._start_s = pipeline, board, time.monotonic()
        self.counts: Counter[str] = Counter()
        self.error: BaseException | None = None
        self.first_row_s: float | None = None
        self.is_stopping = False

    def run(self) -> None:
        """Until there are no more, or nobody wants them."""
        rows = run_pipeline(self._pipeline, self._board)
        try:
            for row in rows:
                self.counts[row["status"]] += 1
                if self.first_row_s is None and row["status"] != LEFT:
                    self.first_row_s = time.monotonic() - self._start_s
                if self.is_stopping:
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
            self.error = error
        finally:
            with suppress(Exception):
                rows.close()


def drive(
    pipeline: Pipeline,
    board: ActorHandle,
    report: ProgressReport,
    signals: Signals,
    *,
    most_failures: float,
    drain_s: float,
) -> Driven:
    """Run the pipeline.

    Args:
        pipeline: with its items.
        board: of `watch_rows`.
        report: is told how far it is.
        signals: that are listened to.
        most_failures: rows that may fail; one more ends the launch.
        drain_s: how long rows at hand may take then.

    Raises:
        RayError: Ray gave up, or a worker raised.
    """
    rows = _Rows(pipeline, board)
    signals.listen()
    signals.can_drain = True
    rows.start()
    reason: Literal["done", "drained", "errors"] = "done"
    while rows.is_alive() and reason == "done":
        rows.join(_LOOK_EVERY_S)
        figures = read_figures(board)
        report.tell(_ended(rows.counts, figures), figures)
        if signals.is_draining:
            reason = "drained"
        elif rows.counts[FAILED] > most_failures:
            reason = "errors"
    if reason != "done":
        _drain(rows, board, drain_s)
    signals.can_drain = False
    if rows.error is not None and reason == "done":
        raise rows.error
    figures = read_figures(board)
    report.tell(_ended(rows.counts, figures), figures)
    return Driven(reason, figures, rows.first_row_s)


def _ended(counts: Counter[str], figures: Mapping[Stage, StageFigures]) -> dict[Stage, int]:
    """Works of each stage that have ended: those of the last one are the rows."""
    one = figures["stage_one"]
    return {
        "stage_one": one.num_made + one.num_reused + one.num_failed,
        "stage_two": counts.total() - counts[LEFT],
    }


def _drain(rows: _Rows, board: ActorHandle, drain_s: float) -> None:
    """Wait until no row is at hand, or for as long as allowed."""
    end_s = time.monotonic() + drain_s
    ray.get(board.drain.remote())
    rows.is_stopping = True
    while ray.get(board.num_at_work.remote()) and time.monotonic() < end_s:
        time.sleep(_LOOK_EVERY_S)
    rows.join(_CLOSE_S)  # rows that nobody has begun come at once, and so the end
