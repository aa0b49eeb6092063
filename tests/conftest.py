"""Every test runs on one thread, for equal numbers everywhere, and cannot reach a model hub.

Those that need a Ray share one small one of their own.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest

from fv_ray.temporary_folder import own_temporary_folder

END_S = 60
"""How long a process may take to end that was told to."""

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has the folder of the process that started it
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # what failed tests leave is kept, there
    os.environ.pop("RAY_TMPDIR", None)
    place = ExitStack()
    place.enter_context(own_temporary_folder())
    atexit.register(place.close)  # behind multiprocessing, which is imported later and cleans up there before

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # it would ask Google what sort a bucket is
os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how soon a checkpoint or an end is noticed
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",  # how soon a burst is noticed
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
}

OURS = {"FV_RAY_TESTED_BY": str(os.getpid())}
"""In the environment of every process that the tests start."""
os.environ |= OURS


@pytest.fixture(scope="session", autouse=True)
def leaves_no_process() -> Iterator[None]:
    """It is set up before all others, and so it looks when they are gone."""
    yield
    deadline = time.monotonic() + END_S
    while (left := list(our_processes())) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def our_processes() -> Iterator[str]:
    """The commands of those that still run, but for the helpers of multiprocessing, which end with this process."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended
            command, is_alive = " ".join(process.cmdline()), process.status() != psutil.STATUS_ZOMBIE
            is_ours = process.pid != os.getpid() and process.environ().items() >= OURS.items()
            if is_ours and is_alive and "multiprocessing." not in command:
                yield command


# Late, here and in the fixtures: torch, Ray, gcsfs and the hub's clients read the environment when they are imported,
# and a process that only hands out tests needs none of them.
if TYPE_CHECKING:
    from fv_ray.stage_one import StageOne
    from fv_ray.stage_two import StageTwo
    from fv_ray.text_to_video import TextToVideo
    from fv_ray.types import VideoRequest
    from tests.object_store import ObjectStore


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real checkpoint folder; read only."""
    from tests.tiny import make_checkpoint

    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    make_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def fresh_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights, from which training begins; read only."""
    from fv_ray.training.new_checkpoint import new_checkpoint

    folder = tmp_path_factory.mktemp("fresh") / "checkpoint"
    new_checkpoint(folder, "tiny", 0)
    return folder


@pytest.fixture(scope="session")
def models(checkpoint: Path) -> TextToVideo:
    from fv_ray.text_to_video import TextToVideo

    return TextToVideo.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def stage_one(models: TextToVideo) -> StageOne:
    return models.stage_one


@pytest.fixture(scope="session")
def stage_two(models: TextToVideo) -> StageTwo:
    return models.stage_two


@pytest.fixture(scope="session")
def request_(checkpoint: Path) -> VideoRequest:
    """The smallest request that exercises time, space and several steps."""
    from fv_ray.checkpoint import CheckpointInfo

    return CheckpointInfo.read(checkpoint).request(
        "a red fox",
        seed=1,
        stage_one={"num_inference_steps": 3, "num_frames": 9, "height": 16, "width": 32},
        stage_two={"num_inference_steps": 2, "height": 32, "width": 64},
    )


@pytest.fixture(scope="session")
def s3() -> Iterator[ObjectStore]:
    """An S3 on the loopback with a bucket named "bucket"; each test uses a folder of its own."""
    from tests.object_store import object_store

    with object_store() as store:
        yield store


@pytest.fixture(scope="session")
def gs() -> Iterator[None]:
    """A GCS on the loopback with a bucket named "bucket"; each test uses a folder of its own."""
    from tests.google_store import google_store

    with google_store():
        yield


@pytest.fixture(params=["disk", "memory", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new and empty place for results."""
    if request.param == "disk":
        return f"{tmp_path}/place"
    if request.param == "memory":
        return f"memory://{uuid4()}"
    request.getfixturevalue(request.param)
    return f"{request.param}://bucket/{uuid4()}"


@pytest.fixture(scope="session")
def small_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, whose default preset makes the smallest clips that the judge reads."""
    from tests.tiny import make_small_checkpoint

    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    make_small_checkpoint(checkpoint, folder)
    return folder


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    import ray  # unit tests do without
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as of_node:
        for name in ("PGPASSWORD", "FV_RAY_API_KEY"):
            of_node.setenv(name, "secret")  # as a node may have them; the tests' own process has none
        cluster = Cluster()
        size = {"object_store_memory": 100 * 2**20, "include_log_monitor": False}
        cluster.add_node(num_cpus=4, include_dashboard=False, **size)  # two training workers and a loader for each
        for _ in range(2):
            cluster.add_node(num_cpus=0, num_gpus=1, **size)  # GPUs that are not there: for those who only count them
        ray.init(cluster.address, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    cluster.shutdown()
