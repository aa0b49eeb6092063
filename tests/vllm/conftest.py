"""What the tests of vLLM share. They are skipped without vLLM, which `make test-vllm` installs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ |= {"VLLM_NO_USAGE_STATS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}

from tests.prompt_checkpoint import make_prompt_checkpoint

PATIENCE_S = 1800
"""An engine is three processes, each of which imports vLLM: half a minute on an idle machine, minutes on a busy one."""


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("vllm")
    from tests.vllm.chat_model import make_chat_model

    return make_chat_model(tmp_path_factory.mktemp("chat") / "model")


@pytest.fixture(scope="session")
def prompt_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prompt_checkpoint(tmp_path_factory.mktemp("prompt") / "checkpoint")


@pytest.fixture(scope="session")
def ray_with_vllm(chat_model: Path) -> Iterator[None]:  # noqa: ARG001  # for its skip
    import ray

    ray.init(
        "local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()
