"""A phase of work, told to a callback step by step: progress, cancellation and timing through one channel."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import torch

from fv_ray.types import OnProgress, Progress


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
