"""Seconds and bytes of a piece of work on a device. The first call never counts."""

import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import torch

from fv_ray.types import OnProgress, Progress


@dataclass(frozen=True)
class Timing:
    """What one call, or one evaluation, costs."""

    seconds: float
    """Median of the repetitions."""
    peak_bytes: int | None
    """Of the device's allocated memory, weights included; None where the device does not tell."""


def time_calls(work: Callable[[], object], *, repeats: int, device: torch.device) -> Timing:
    """Call `work` once to warm up and then `repeats` times."""
    work()
    _reset_peak(device)
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = perf_counter()
        work()
        synchronize(device)
        seconds.append(perf_counter() - start)
    return Timing(statistics.median(seconds), _peak_bytes(device))


def time_evaluations(denoise: Callable[[int, OnProgress], object], *, repeats: int, device: torch.device) -> Timing:
    """Time each step of a real sampling run of `repeats` + 1 steps: the first warms up.

    Args:
        denoise: given the number of steps and the callback, runs them all.
        repeats: steps that count.
        device: waited for after each step, so that a step's seconds are its own.
    """
    marks: list[float] = []

    def mark(progress: Progress) -> None:
        synchronize(device)
        marks.append(perf_counter())
        if progress.step == 1:
            _reset_peak(device)

    denoise(repeats + 1, mark)
    seconds = [end - start for start, end in pairwise(marks)]
    return Timing(statistics.median(seconds[1:]), _peak_bytes(device))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_resident_bytes() -> int:
    """Of this process since it started."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_bytes(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
