"""`fv-ray info`: what a checkpoint folder says, and a broken one that is named."""

import shutil
from pathlib import Path

import pytest

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.description import describe
from fv_ray.errors import CheckpointError


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copied"))


def test_a_checkpoint_is_described(checkpoint: Path) -> None:
    text = describe(checkpoint)
    for words in (
        CheckpointInfo.read(checkpoint).digest,
        "stage_two up to 512x768",
        "stage_one_transformer: StageOneTransformer3DModel, 651,200 parameters, F32, 2.6 MB",
        "text_encoder: T5EncoderModel",
        "preset released (default)",
        "guidance_scale 13.0",
    ):
        assert words in text


def test_a_checkpoint_without_text_encoder_says_so(copied: Path) -> None:
    shutil.rmtree(copied / "text_encoder")
    assert "16 tokens, no encoder: prompt embeddings alone" in describe(copied)


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"architectures": []}'])
def test_a_broken_configuration(copied: Path, content: str) -> None:
    (copied / "vae" / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="vae cannot be read"):
        describe(copied)


def test_missing_parts_and_weights(copied: Path) -> None:
    for weights in (copied / "vae").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(CheckpointError, match="vae holds no weights"):
        describe(copied)
    shutil.rmtree(copied / "vae")
    with pytest.raises(CheckpointError, match="vae cannot be read"):
        describe(copied)
