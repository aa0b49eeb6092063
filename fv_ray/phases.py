"""A phase of work, told to a callback step by step: progress, cancellation and timing through one channel."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

import torch

from fv_ray.types import OnProgress, Progress

_Chunk = TypeVar("_Chunk")


@contextmanager
def phase(
    name: str, num_steps: int, on_progress: OnProgress | None, device: torch.device
) -> Iterator[Callable[[int], None]]:
    """Report a phase of `num_steps` steps.

    Yields a function to call with the number of steps done. The end is reported on leaving the block, after the
    device has finished, so that its `seconds` are true; nothing is reported where the block or the callback raised.
    """
    if on_progress is None:
        yield lambda _step: None
        return
    start = perf_counter()

    def report(step: int) -> None:
        on_progress(Progress(name, step, num_steps, perf_counter() - start))

    report(0)
    yield lambda step: report(step) if step < num_steps else None
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    report(num_steps)


def phase_of_chunks(
    name: str, num_chunks: int, chunks: Iterable[_Chunk], on_progress: OnProgress | None
) -> Iterator[_Chunk]:
    """Yield `chunks`, each told as a step of a phase; what the caller does between them is not in its seconds.

    A chunk must be complete when it comes: on a GPU, copied to the CPU.
    """
    tell = on_progress or (lambda _progress: None)
    tell(Progress(name, 0, num_chunks, 0.0))
    seconds, start = 0.0, perf_counter()
    for step, chunk in enumerate(chunks, start=1):
        seconds += perf_counter() - start
        tell(Progress(name, step, num_chunks, seconds))
        yield chunk
        start = perf_counter()
