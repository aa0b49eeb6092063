import os
import subprocess
import sys

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    RayTaskError,
    TaskCancelledError,
)
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    RequestCancelledError,
)

from deployments.attempt_ending import Ending, ending_of
from deployments.stage_stream import StageStalled, StreamCut
from deployments.stage_work import WorkRefused
from fv_ray.errors import (
    ArtifactDamaged,
    CheckpointError,
    DeviceFailed,
    DeviceOutOfMemory,
    InputError,
    NumericalError,
    StorageError,
    StoreUnavailable,
)


def from_replica(cause: Exception) -> Exception:
    """As it comes to the caller: an error of Ray's that is also one of the cause's class."""
    return RayTaskError("run", "traceback", cause).as_instanceof_cause()


def preempted() -> ActorDiedError:
    error = ActorDiedError()
    error._preempted = True
    return error


@pytest.mark.parametrize(
    "error",
    [
        preempted(),
        ActorUnavailableError("away", b"0" * 16),
        NodeDiedError("gone"),
        TaskCancelledError(),
        RequestCancelledError("id"),
        StreamCut(),
    ],
    ids=repr,
)
def test_a_drain_never_fails_a_video(error: Exception) -> None:
    assert ending_of(error, num_counted=9, kind="full") == Ending("drained")


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_what_a_silent_node_takes_with_it_does_not_count() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "tests.deployments.frozen_node"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=150)
    assert "drained" in done.stdout.splitlines(), done.stdout + done.stderr  # Ray tells of the node as well


@pytest.mark.parametrize(
    "error",
    [
        BackPressureError(num_queued_requests=1, max_queued_requests=1),
        DeploymentUnavailableError(DeploymentID("StageOne", "app")),
        ReplicaUnavailableError("id"),
        from_replica(WorkRefused("a step hangs")),
        from_replica(StorageError("no space")),
        from_replica(StoreUnavailable("503")),
    ],
    ids=repr,
)
def test_a_refusal_never_fails_a_video(error: Exception) -> None:
    assert ending_of(error, num_counted=9, kind="full") == Ending("refused")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ActorDiedError(), "crashed"),
        (from_replica(DeviceFailed("CUDA error")), "crashed"),
        (StageStalled(), "stalled"),
        (from_replica(ZeroDivisionError()), "failed"),
        (RuntimeError("the stream ended"), "failed"),
    ],
    ids=repr,
)
def test_the_third_spoilt_attempt_is_the_last(error: Exception, outcome: str) -> None:
    assert ending_of(error, num_counted=1, kind="full") == Ending(outcome)
    last = ending_of(error, num_counted=2, kind="full")
    assert (last.outcome, last.code) == (outcome, "crash_loop")
    assert outcome in last.message


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (InputError("num_frames is 8"), "input_error"),
        (NumericalError("NaN"), "numerical_error"),
        (CheckpointError("no vae"), "checkpoint_error"),
    ],
    ids=repr,
)
def test_what_would_fail_again_fails_at_once(cause: Exception, code: str) -> None:
    assert ending_of(from_replica(cause), num_counted=0, kind="full") == Ending("failed", code, str(cause))


def test_memory_gets_one_more_try() -> None:
    error = from_replica(DeviceOutOfMemory("tried to allocate 40 GiB"))
    assert ending_of(error, num_counted=0, kind="full") == Ending("failed")
    assert ending_of(error, num_counted=1, kind="full").code == "out_of_memory"


def test_a_full_video_makes_a_damaged_preview_again_and_a_commit_cannot() -> None:
    error = from_replica(ArtifactDamaged("preview.safetensors is gone"))
    assert ending_of(error, num_counted=1, kind="full") == Ending("failed", remakes_preview=True)
    assert ending_of(error, num_counted=2, kind="full").code == "artifact_damaged"
    of_commit = ending_of(error, num_counted=0, kind="commit")
    assert of_commit.code == "artifact_damaged"
    assert "ask again for the preview" in of_commit.message
