"""Sample videos: what the saved parts make, side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fv_ray.errors import CheckpointError
from fv_ray.video_io import read_frames
from jobs.training.loop import build_part
from jobs.training.recipes import find_recipe
from jobs.training.samples import write_samples
from jobs.training.stream import read_batch
from tests.jobs.training.shards import row, write_shards

DATA = {"high": "procedural", "low": "procedural"}
VIEWS = '[{"batch_size": 4, "num_frames": 9, "height": 32, "width": 64}]'


def sampled(part: str, changes: dict[str, str], checkpoint: Path, folder: Path, data: dict[str, str]) -> np.ndarray:
    recipe = find_recipe(part, "tiny", changes)
    parts = folder / "parts"
    parts.mkdir()
    trained = build_part(checkpoint, recipe, torch.device("cpu"))
    trained.save(parts, trained.module.state_dict())
    write_samples(recipe, data, checkpoint, parts, f"file://{folder}", 4)
    return read_frames(folder / "samples" / "step-00000004.mp4")


def test_an_autoencoder_shows_a_clip_beside_its_reconstruction(fresh_checkpoint: Path, tmp_path: Path) -> None:
    views = VIEWS.replace("}", ', "source": "high"}')
    frames = sampled("vae", {"views": views}, fresh_checkpoint, tmp_path, DATA)
    assert frames.shape == (9, 32, 128, 3)
    clip = read_batch(find_recipe("vae", "tiny", {"views": views}), DATA, 1).tensors["frames"][0].numpy()
    assert np.abs(frames[:, :, :64].astype(int) - clip).mean() < 6  # H.264 of a small clip with sharp edges
    assert np.abs(frames[:, :, 64:].astype(int) - clip).mean() > 12  # it is not trained


@pytest.mark.parametrize("changes", [{}, {"lora_rank": "2", "trains_text_encoder": "false"}])
def test_stage_one_shows_previews_of_captions(changes: Any, fresh_checkpoint: Path, tmp_path: Path) -> None:
    assert sampled("stage_one", changes, fresh_checkpoint, tmp_path, DATA).shape == (9, 16, 4 * 32, 3)


@pytest.mark.parametrize("changes", [{}, {"starts_from_noise": "true"}, {"pixel_degradation": "false"}])
def test_stage_two_shows_a_clip_on_its_way(changes: Any, fresh_checkpoint: Path, tmp_path: Path) -> None:
    data = {"high": write_shards(tmp_path / "set", [row(number) for number in range(4)])}
    assert sampled("stage_two", changes, fresh_checkpoint, tmp_path, data).shape == (9, 32, 3 * 64, 3)


def test_what_cannot_be_sampled_is_an_error(fresh_checkpoint: Path, tmp_path: Path) -> None:
    recipe = find_recipe("vae", "tiny")
    (tmp_path / "parts" / "vae").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="the vae in .* cannot be read"):
        write_samples(recipe, DATA, fresh_checkpoint, tmp_path / "parts", str(tmp_path), 2)
    assert not (tmp_path / "samples").exists()
