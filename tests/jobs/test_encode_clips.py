"""Clips to latents on a real Ray: once each, resumable, and what training streams."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from fv_ray import vae
from fv_ray.checkpoint_folder import part_digest
from fv_ray.errors import InputError, StorageError
from fv_ray.models.loading import load_vae
from fv_ray.training.recipe import View
from jobs import encode_clips as module
from jobs.encode_clips import encode_clips
from jobs.encode_shard import parse_degradations
from jobs.training.data import open_source
from jobs.training.recipes import find_recipe
from jobs.training.record import read_metrics
from jobs.training.start import start_training

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

OPTIONS: dict[str, Any] = {
    "source": "procedural",
    "num_frames": 9,
    "height": 32,
    "width": 64,
    "num_clips": 10,
    "degradation": "flashvideo,preview",
    "prompt_embeds": True,
    "seed": 1,
    "clips_per_shard": 4,
    "num_workers": 2,
}
DEFAULTS: dict[str, Any] = {"num_clips": None, "degradation": "", "prompt_embeds": False, "seed": 0, "use_gpu": False}


def encode(checkpoint: Path, output: object, **changes: Any) -> None:
    encode_clips(checkpoint=str(checkpoint), output=str(output), **{**DEFAULTS, **OPTIONS, **changes})


@pytest.fixture(scope="module")
def encoded(fresh_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("encoded") / "out"
    encode(fresh_checkpoint, f"file://{output}")
    return output


def rows(output: Path) -> list[dict[str, Any]]:
    return [row for shard in sorted((output / "clips").iterdir()) for row in pq.read_table(shard).to_pylist()]


def test_every_clip_is_encoded_once_with_its_degraded_twin_and_its_text(encoded: Path, fresh_checkpoint: Path) -> None:
    found = rows(encoded)
    source = open_source("procedural", View(batch_size=1, num_frames=9, height=32, width=64))
    samples = [source.sample(position, 1) for position in range(10)]
    assert [(row["clip_id"], row["caption"]) for row in found] == [sample[:2] for sample in samples]
    assert json.loads((encoded / "summary.json").read_text()) == {"num_clips": 10}
    assert json.loads((encoded / "recipe.json").read_text())["vae"] == part_digest(fresh_checkpoint / "vae")
    assert [path.name for path in sorted((encoded / "clips").iterdir())] == [f"{n:06d}.parquet" for n in range(3)]
    coder = load_vae(fresh_checkpoint)
    for row, (_, _, arrays) in zip(found, samples, strict=True):
        assert (row["latents_shape"], row["embeds_shape"]) == ([3, 16, 4, 8], [32, 32])
        latents, degraded = (np.frombuffer(row[name], np.float16) for name in ("latents", "degraded_latents"))
        frames = torch.from_numpy(arrays["frames"].copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        mean = vae.moments(coder, frames)[0, :16].transpose(0, 1).flatten().numpy()
        assert np.corrcoef(mean, latents.astype(np.float32))[0, 1] > 0.1  # a sample around the mean
        assert (latents != degraded).any()


def test_what_was_begun_goes_on_with_what_is_missing(encoded: Path, fresh_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    encode(fresh_checkpoint, output, num_workers=1)
    (output / "summary.json").unlink()
    (output / "clips" / "000001.parquet").unlink()
    kept = {path: path.stat().st_ino for path in (output / "clips").iterdir()}
    encode(fresh_checkpoint, output)
    assert kept.items() <= {path: path.stat().st_ino for path in (output / "clips").iterdir()}.items()
    assert rows(output) == rows(encoded)
    assert (output / "summary.json").exists()


def test_what_is_done_asks_nothing_of_ray(
    encoded: Path, fresh_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_run", lambda *_, **__: pytest.fail("Ray was asked"))
    encode(fresh_checkpoint, encoded)
    with pytest.raises(StorageError, match="seed is 1 there and 2 here"):
        encode(fresh_checkpoint, encoded, seed=2)


def test_training_streams_what_was_written(encoded: Path, fresh_checkpoint: Path, tmp_path: Path) -> None:
    recipe = find_recipe("stage_two", "tiny", {"num_steps": "4", "checkpoint_every": "4", "sample_every": "4"})
    data = {"high": f"file://{encoded}"}
    start_training(recipe, checkpoint=str(fresh_checkpoint), data=data, output=str(tmp_path / "run"))
    lines = read_metrics(str(tmp_path / "run"))
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert np.isfinite([line["loss"] for line in lines]).all()
    assert (tmp_path / "run" / "samples" / "step-00000004.mp4").exists()


def test_a_world_without_end_needs_a_number(fresh_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="procedural has no end and no number of clips was given; give --num-clips"):
        encode(fresh_checkpoint, tmp_path / "out", num_clips=None)


def test_degradations_have_names() -> None:
    assert parse_degradations("") == ()
    assert parse_degradations(" preview, flashvideo") == ("preview", "flashvideo")
    with pytest.raises(InputError, match="there is no degradation 'rain'; allowed are flashvideo, preview"):
        parse_degradations("preview,rain")


def test_the_command_tells_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--checkpoint={tmp_path}", "--input=procedural:x", f"--output={tmp_path}/out", "--num-frames=9"]
    monkeypatch.setattr(sys, "argv", ["encode_clips", *options, "--height=32", "--width=32"])
    with pytest.raises(SystemExit, match="1"):
        module.main()
    assert capsys.readouterr().err.startswith("error: the data set is 'procedural:x'; allowed are")
