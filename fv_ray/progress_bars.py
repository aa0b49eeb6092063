"""Progress events as bars on a terminal, as a line a phase elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fv_ray import types


class ProgressBars:
    """An `OnProgress` that shows each phase with its rate and the time left; use it as a context."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<15}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, progress: types.Progress) -> None:
        """Show one event."""
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=progress.num_steps)
        self._bars.update(self._tasks[progress.phase], completed=progress.step)
        if progress.is_done and not self._console.is_terminal:
            steps = f"{progress.num_steps} steps" if progress.num_steps > 1 else ""
            self._console.print(f"{progress.phase:<15} {progress.seconds:8.2f} s  {steps}".rstrip(), highlight=False)
