"""How far a launch is: bars on a terminal, a JSON line every ten seconds elsewhere, and gauges for Prometheus."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import typer
from ray.util.metrics import Gauge
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fv_ray.artifact_store import Stage
from jobs.generation.watch_rows import StageFigures

LINE_EVERY_S = 10.0
RATE_OVER_S = 600.0
"""What is left is told by the rate of the last ten minutes."""


class ProgressReport:
    """Of one launch; use it as a context."""

    def __init__(self, totals: Mapping[Stage, int]) -> None:
        """Totals: how many works each stage has, in the order of the stages."""
        self._totals, self._is_terminal = totals, sys.stderr.isatty()
        self._start = self._line_at = time.monotonic()
        self._history: deque[tuple[float, int]] = deque([(self._start, 0)])
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=Console(stderr=True),
            disable=not self._is_terminal,
        )
        self._tasks = {stage: self._bars.add_task(stage, total=total, told="") for stage, total in totals.items()}
        self._rows = Gauge("fv_ray_generate_works", "Works of a launch.", tag_keys=("stage", "state"))
        self._seconds = Gauge("fv_ray_generate_device_seconds", "Of a launch.", tag_keys=("stage", "use"))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def tell(self, ended: Mapping[Stage, int], figures: Mapping[Stage, StageFigures]) -> None:
        """Tell how many works of each stage have ended; call it about once a second."""
        last = list(self._totals)[-1]
        rate, left_s = self._rate(ended[last], self._totals[last])
        for stage, task in self._tasks.items():
            told = f"{rate * 60:.1f}/min, {left_s:.0f} s left" if stage == last and rate else ""
            self._bars.update(task, completed=ended[stage], told=told)
        self._gauge(ended, figures)
        now = time.monotonic()
        if not self._is_terminal and now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            typer.echo(json.dumps(self._line(ended, figures, rate, left_s)), err=True)

    def _line(
        self, ended: Mapping[Stage, int], figures: Mapping[Stage, StageFigures], rate: float, left_s: float
    ) -> dict[str, object]:
        return {
            "elapsed_s": round(time.monotonic() - self._start, 1),
            "rows_per_s": round(rate, 4),
            "left_s": round(left_s) if rate else None,
            **{
                stage: {"total": total, "ended": ended[stage], **_brief(figures[stage])}
                for stage, total in self._totals.items()
            },
        }

    def _rate(self, ended: int, total: int) -> tuple[float, float]:
        now = time.monotonic()
        self._history.append((now, ended))
        while len(self._history) > 2 and now - self._history[1][0] > RATE_OVER_S:
            self._history.popleft()
        since, before = self._history[0]
        rate = (ended - before) / max(now - since, 1e-9)
        return rate, (total - ended) / rate if rate else 0.0

    def _gauge(self, ended: Mapping[Stage, int], figures: Mapping[Stage, StageFigures]) -> None:
        for stage, total in self._totals.items():
            told = figures[stage]
            states = {"total": total, "ended": ended[stage], "failed": told.num_failed, "lost": told.num_lost}
            for state, number in states.items():
                self._rows.set(number, {"stage": stage, "state": state})
            for use, seconds in {"useful": told.useful_s, "failed": told.failed_s, "warm_up": told.warm_up_s}.items():
                self._seconds.set(seconds, {"stage": stage, "use": use})


def _brief(figures: StageFigures) -> dict[str, object]:
    return {"failed": figures.num_failed, "lost": figures.num_lost, "device_s": round(figures.useful_s, 1)}
