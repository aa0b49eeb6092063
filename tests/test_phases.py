"""Phases: told from start to end, silent after an error."""

from collections.abc import Iterator

import pytest
import torch

from fv_ray.phases import phase, phase_of_chunks
from fv_ray.types import Progress

CPU = torch.device("cpu")


def test_a_phase_is_told_from_start_to_end() -> None:
    told: list[Progress] = []
    with phase("denoise", 3, told.append, CPU) as report:
        for step in (1, 2, 3):
            report(step)
    assert [p.step for p in told] == [0, 1, 2, 3]
    assert [p.is_done for p in told] == [False, False, False, True]
    assert {(p.phase, p.num_steps) for p in told} == {("denoise", 3)}
    assert told == sorted(told, key=lambda p: p.seconds)


def test_an_error_inside_is_no_end() -> None:
    told: list[Progress] = []
    with pytest.raises(ZeroDivisionError), phase("denoise", 1, told.append, CPU):
        raise ZeroDivisionError
    assert [p.step for p in told] == [0]


def test_a_callback_cancels_by_raising() -> None:
    def cancel(progress: Progress) -> None:
        if progress.step == 1:
            raise KeyboardInterrupt

    reached: list[int] = []

    def run() -> None:
        with phase("denoise", 3, cancel, CPU) as report:
            for step in (1, 2, 3):
                report(step)
                reached.append(step)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert reached == []


def test_nothing_is_told_without_a_callback() -> None:
    with phase("denoise", 1, None, CPU) as report:
        report(1)


def test_chunks_are_told_and_a_slow_caller_is_not_in_their_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = 0.0
    monkeypatch.setattr("fv_ray.phases.perf_counter", lambda: clock_s)
    told: list[Progress] = []

    def made() -> Iterator[str]:
        nonlocal clock_s
        for chunk in "abc":
            clock_s += 2
            yield chunk

    taken = []
    for chunk in phase_of_chunks("decode", 3, made(), told.append):
        taken.append(chunk)
        clock_s += 100
    assert taken == ["a", "b", "c"]
    assert [(p.phase, p.step, p.num_steps, p.seconds) for p in told] == [("decode", n, 3, 2 * n) for n in range(4)]
    assert told[-1].is_done


def test_chunks_without_a_callback() -> None:
    assert list(phase_of_chunks("decode", 2, [1, 2], None)) == [1, 2]
