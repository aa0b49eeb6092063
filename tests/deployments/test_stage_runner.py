"""What a replica tells of errors, with a real store and a device that fails on purpose."""

import asyncio
import resource
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from deployments.stage_runner import StageRunner
from deployments.stage_work import Done, Step, WorkRefused
from fv_ray.artifact_store import ArtifactStore
from fv_ray.errors import ArtifactDamaged, DeviceFailed, DeviceOutOfMemory, StorageError
from fv_ray.types import OnProgress, Progress

KEY = "0" * 64


def write_result(given: Path, made: Path, on_progress: OnProgress) -> None:
    on_progress(Progress("denoise", 1, 1, 0.0))
    content = b"".join(file.read_bytes() for file in given.iterdir())
    (made / "preview.mp4").write_bytes(content or b"frames")


@pytest.fixture
def runner(tmp_path: Path) -> StageRunner:
    return StageRunner("stage_one", str(tmp_path), "cpu", stall_s=60)


def run(runner: StageRunner, *arguments: object) -> list[Step | Done]:
    async def consume() -> list[Step | Done]:
        return [told async for told in runner.run(*arguments)]

    return asyncio.run(consume())


def test_the_same_work_again_uses_no_device(runner: StageRunner) -> None:
    *steps, first = run(runner, KEY, write_result)
    assert "denoise" in {step.phase for step in steps}
    assert not first.is_reused
    *steps, again = run(runner, KEY, write_result)
    assert {step.phase for step in steps} == {"store"}
    assert again == Done(record=first.record, is_reused=True)


def test_steps_in_quick_succession_are_not_all_told(runner: StageRunner) -> None:
    def hurry(given: Path, made: Path, on_progress: OnProgress) -> None:
        for step in range(1, 1001):
            on_progress(Progress("denoise", step, 1000, step / 1000))
        write_result(given, made, on_progress)

    *steps, done = run(runner, KEY, hurry)
    told = [step.step for step in steps if step.phase == "denoise"]
    assert told[0] == 1
    assert len(told) < 1000
    assert not done.is_reused


def test_inputs_come_from_the_store(runner: StageRunner, tmp_path: Path) -> None:
    source = run(runner, KEY, write_result)[-1].record.artifacts["preview.mp4"]
    made = run(runner, "1" * 64, write_result, {"latents": source})[-1].record
    assert made.artifacts["preview.mp4"].sha256 == sha256(b"frames").hexdigest()

    (tmp_path / source.path).write_bytes(b"framed")
    with pytest.raises(ArtifactDamaged):
        run(runner, "2" * 64, write_result, {"latents": source})
    assert ArtifactStore.open(str(tmp_path)).find("2" * 64) is None


def test_a_full_disk_of_the_replica_is_no_fault_of_the_request(runner: StageRunner) -> None:
    source = run(runner, KEY, write_result)[-1].record.artifacts["preview.mp4"]
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, usual[1]))
    try:
        with pytest.raises(StorageError, match="free space"):
            run(runner, "1" * 64, write_result, {"latents": source})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_run_that_fails_leaves_no_record(runner: StageRunner, tmp_path: Path) -> None:
    def fail(given: Path, made: Path, on_progress: OnProgress) -> None:
        write_result(given, made, on_progress)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(runner, KEY, fail)
    assert ArtifactStore.open(str(tmp_path)).find(KEY) is None


def test_a_full_memory_is_told_and_forgotten(runner: StageRunner) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    with pytest.raises(DeviceOutOfMemory, match="40 GiB"):
        run(runner, KEY, fail)
    runner.check()
    assert isinstance(run(runner, KEY, write_result)[-1], Done)


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("illegal memory access"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_a_device_error_that_stays_ends_the_replica(runner: StageRunner, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    with pytest.raises(DeviceFailed):
        run(runner, KEY, fail)
    with pytest.raises(WorkRefused):
        runner.check()
    with pytest.raises(WorkRefused):
        run(runner, KEY, write_result)
