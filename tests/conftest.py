"""Every test runs on one thread, for equal numbers everywhere, and cannot reach a model hub."""

import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

# Only now: torch and the hub's clients read the environment when they are imported.
import torch

torch.set_num_threads(1)

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.new_checkpoint import new_checkpoint
from fv_ray.types import VideoRequest
from tests.tiny import make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real checkpoint folder; read only."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    make_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def fresh_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights, from which training begins; read only."""
    folder = tmp_path_factory.mktemp("fresh") / "checkpoint"
    new_checkpoint(folder, "tiny", 0)
    return folder


@pytest.fixture(scope="session")
def models(checkpoint: Path) -> TextToVideo:
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
    return CheckpointInfo.read(checkpoint).request(
        "a red fox",
        seed=1,
        stage_one={"num_inference_steps": 3, "num_frames": 9, "height": 16, "width": 32},
        stage_two={"num_inference_steps": 2, "height": 32, "width": 64},
    )
