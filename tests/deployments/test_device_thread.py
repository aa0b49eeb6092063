import asyncio
import threading
from collections.abc import Callable

import pytest

from deployments.device_thread import DeviceThread, Stopped
from deployments.stage_work import WorkRefused
from fv_ray.errors import DeviceFailed
from fv_ray.types import OnProgress, Progress

PATIENCE_S = 120
STEP = Progress("denoise", 1, 2, 0.0)


class Works:
    """Works that stop at a gate within their step, and see whether another one is in its step too."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.in_step = threading.Event()
        self.endings: list[str] = []
        self.most_at_once = 0
        self._num_running = 0

    def make(self, name: str) -> Callable[[OnProgress], str]:
        def work(on_progress: OnProgress) -> str:
            self._num_running += 1
            self.most_at_once = max(self.most_at_once, self._num_running)
            try:
                on_progress(STEP)
                self.in_step.set()
                assert self.gate.wait(PATIENCE_S)
                on_progress(STEP)
            except Stopped:
                self.endings.append(f"{name} stopped")
                raise
            finally:
                self._num_running -= 1
            self.endings.append(f"{name} done")
            return name

        return work


async def consume(device: DeviceThread, work: Callable[[OnProgress], str]) -> list[object]:
    return [told async for told in device.run(work)]


async def begun(device: DeviceThread) -> None:
    while device.step_s == 0.0:
        await asyncio.sleep(0.01)


def test_progress_comes_before_the_result() -> None:
    works = Works()
    works.gate.set()
    assert asyncio.run(consume(DeviceThread(60), works.make("a"))) == [STEP, STEP, "a"]


def test_a_run_that_is_cancelled_in_a_step_keeps_the_device_until_the_step_ends() -> None:
    """T2: the next run's step began while the cancelled one's was still on the device."""
    works = Works()

    async def main() -> None:
        device = DeviceThread(60)
        first = asyncio.create_task(consume(device, works.make("first")))
        await begun(device)
        first.cancel()
        second = asyncio.create_task(consume(device, works.make("second")))
        await asyncio.sleep(0.05)
        first.cancel()  # in a hurry
        await asyncio.sleep(0.05)
        assert not first.done()
        works.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == [STEP, STEP, "second"]

    asyncio.run(main())
    assert works.most_at_once == 1
    assert works.endings == ["first stopped", "second done"]


def test_closing_the_stream_waits_for_the_step() -> None:
    works = Works()

    async def main() -> None:
        stream = DeviceThread(60).run(works.make("a"))
        await anext(stream)
        asyncio.get_running_loop().call_later(0.1, works.gate.set)
        await stream.aclose()

    asyncio.run(main())
    assert works.endings == ["a stopped"]


def test_a_run_that_was_cancelled_while_it_waited_never_starts() -> None:
    works = Works()

    async def main() -> None:
        device = DeviceThread(60)
        first = asyncio.create_task(consume(device, works.make("first")))
        await begun(device)
        second = asyncio.create_task(consume(device, works.make("second")))
        await asyncio.sleep(0.05)
        second.cancel()
        works.gate.set()
        await asyncio.wait([first, second])

    asyncio.run(main())
    assert works.endings == ["first done"]


def test_a_hung_step_is_seen_and_further_work_refused() -> None:
    works = Works()

    async def main() -> None:
        device = DeviceThread(0.1)
        device.check()
        running = asyncio.create_task(consume(device, works.make("a")))
        while not works.in_step.is_set() or device.step_s <= 0.1:
            await asyncio.sleep(0.01)
        with pytest.raises(WorkRefused, match="allowed are 0 s"):
            device.check()
        works.gate.set()
        await running
        device.check()  # it was only slow

    asyncio.run(main())


def test_an_error_leaves_the_device_in_use() -> None:
    def fail(_: OnProgress) -> str:
        raise ValueError("of this request alone")

    async def main() -> None:
        device, works = DeviceThread(60), Works()
        works.gate.set()
        with pytest.raises(ValueError, match="of this request alone"):
            await consume(device, fail)
        assert await consume(device, works.make("a")) == [STEP, STEP, "a"]

    asyncio.run(main())


def test_a_failed_device_is_not_used_again() -> None:
    def fail(_: OnProgress) -> str:
        raise DeviceFailed("CUDA error: an illegal memory access")

    async def main() -> None:
        device, works = DeviceThread(60), Works()
        with pytest.raises(DeviceFailed):
            await consume(device, fail)
        with pytest.raises(WorkRefused, match="illegal memory access"):
            device.check()
        with pytest.raises(WorkRefused, match="illegal memory access"):
            await consume(device, works.make("a"))

    asyncio.run(main())
