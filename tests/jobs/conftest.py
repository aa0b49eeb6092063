"""One small Ray of our own for all tests that need one."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}

# Only now: Ray reads the environment when it is imported.
import ray


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="fvr")  # short: a socket's path has at most 107 bytes
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=100 * 2**20,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
