import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

import pytest

from deployments import stage_stream
from deployments.stage_stream import CancelRequested, StageStalled, StreamCut, follow
from deployments.stage_work import Done, Step
from fv_ray.artifact_store import StageRecord

RECORD = StageRecord(
    work_key="0" * 64, stage="stage_one", artifacts={}, device_seconds=0, device="cpu", created_at=datetime.now(UTC)
)
DONE = Done(record=RECORD, is_reused=False)


def step(number: int) -> Step:
    return Step(phase="denoise", step=number, num_steps=9, progress=number / 9)


class Watcher:
    """Looks at steps; wants the video no more after some of them."""

    def __init__(self, cancel_after: int = 1000) -> None:
        self.seen: list[Step | None] = []
        self._cancel_after = cancel_after

    async def __call__(self, latest: Step | None) -> bool:
        self.seen.append(latest)
        return len(self.seen) >= self._cancel_after


class Stage:
    """A stream of what it is given, pausing before each; knows that it was closed."""

    def __init__(
        self, *told: Step | Done | Exception, pause_s: float = 0.0, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """Begin; `meanwhile` is called after each pause."""
        self._told, self._pause_s, self._meanwhile, self.is_closed = told, pause_s, meanwhile, False

    async def run(self) -> AsyncGenerator[Step | Done, None]:
        try:
            for told in self._told:
                await asyncio.sleep(self._pause_s)
                self._meanwhile()
                if isinstance(told, BaseException):
                    raise told
                yield told
            await asyncio.sleep(3600)
        finally:
            self.is_closed = True


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_stream, "LOOK_EVERY_S", 0.02)


def run(stage: Stage, watcher: Watcher, stall_s: float = 60.0) -> Done:
    done = asyncio.run(follow(stage.run(), stall_s=stall_s, look=watcher))
    assert stage.is_closed
    return done


def test_the_result_ends_it() -> None:
    watcher = Watcher()

    async def seen_one_by_one() -> AsyncGenerator[Step | Done, None]:
        for told in (step(1), step(2)):
            yield told
            while told not in watcher.seen:
                await asyncio.sleep(0.001)
        yield DONE

    assert asyncio.run(follow(seen_one_by_one(), stall_s=60, look=watcher)) == DONE
    assert [told.step for told in watcher.seen if told] == [1, 2]


def test_a_thousand_quick_steps_are_told_as_few() -> None:
    watcher = Watcher()
    run(Stage(*(step(n % 9) for n in range(1000)), DONE), watcher)
    assert len(watcher.seen) < 500


def test_a_cancelled_work_is_closed_between_steps() -> None:
    stage = Stage(step(1))
    with pytest.raises(CancelRequested):
        run(stage, Watcher(cancel_after=3))
    assert stage.is_closed


def test_a_work_that_waits_for_a_replica_can_be_cancelled() -> None:
    stage = Stage()
    with pytest.raises(CancelRequested):
        run(stage, Watcher(cancel_after=2))
    assert stage.is_closed


def test_a_stage_that_goes_silent_has_stalled() -> None:
    stage = Stage(step(1))
    with pytest.raises(StageStalled):
        run(stage, Watcher(), stall_s=0.1)
    assert stage.is_closed


def test_waiting_for_a_replica_is_no_stall() -> None:
    assert run(Stage(DONE, pause_s=0.3), Watcher(), stall_s=0.1) == DONE


def test_steps_keep_a_long_work_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own, on which each step takes most of what one may take."""
    now_s = 0.0

    def work() -> None:
        nonlocal now_s
        now_s += 40

    monkeypatch.setattr(stage_stream, "monotonic", lambda: now_s)
    monkeypatch.setattr(stage_stream, "LOOK_EVERY_S", 0.01)
    assert run(Stage(*map(step, range(9)), DONE, pause_s=0.05, meanwhile=work), Watcher(), stall_s=60) == DONE


def test_an_error_of_the_stage_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        run(Stage(step(1), ZeroDivisionError()), Watcher())


def test_a_replica_that_stops_cuts_the_stream() -> None:
    with pytest.raises(StreamCut):
        run(Stage(step(1), asyncio.CancelledError()), Watcher())


def test_a_stream_without_a_result_is_an_error() -> None:
    async def empty() -> AsyncGenerator[Step | Done, None]:
        for told in ():
            yield told

    with pytest.raises(RuntimeError, match="without a result"):
        asyncio.run(follow(empty(), stall_s=60, look=Watcher()))
