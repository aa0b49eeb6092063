"""One small Ray of our own for all tests that need one, and a checkpoint that is evaluated in seconds."""

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fv_ray.checkpoint import INDEX_FILE

os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how soon a checkpoint or an end is noticed
}

# Only now: Ray reads the environment when it is imported.
import ray


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="fvr")  # short: a socket's path has at most 107 bytes
    ray.init(
        "local",
        num_cpus=4,  # two training workers and a loader for each
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=100 * 2**20,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def small_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, whose default preset makes the smallest clips that the judge reads."""
    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    index = json.loads((folder / INDEX_FILE).read_text())
    preset = copy.deepcopy(index["fv_ray"]["presets"]["paper"])
    preset["stage_one"] |= {"num_inference_steps": 2, "num_frames": 5, "height": 32, "width": 32}
    preset["stage_two"] |= {"num_inference_steps": 2, "height": 64, "width": 64, "guidance_scale": 2.0}
    index["fv_ray"] |= {"default_preset": "small", "presets": {"small": preset}}
    (folder / INDEX_FILE).write_text(json.dumps(index))
    return folder
