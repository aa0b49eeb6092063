"""What would fail in a worker is refused before one is started, in one line."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from fv_ray.checkpoint_folder import part_digest
from fv_ray.errors import CheckpointError, InputError
from jobs.run_command import run_command
from jobs.training.check import check_run
from jobs.training.recipes import find_recipe
from jobs.training.start import parse_data, training_app
from tests.jobs.training.shards import row, write_shards

TINY = {part: find_recipe(part, "tiny") for part in ("vae", "stage_one", "stage_two")}
PROCEDURAL = {"high": "procedural", "low": "procedural"}


def latents(folder: Path, **changes: object) -> dict[str, str]:
    return {"high": write_shards(folder, [row(number, **changes) for number in range(4)])}


def test_what_fits_is_not_refused(fresh_checkpoint: Path, tmp_path: Path) -> None:
    for recipe in TINY.values():
        check_run(recipe, fresh_checkpoint, PROCEDURAL, 2)
    data = latents(tmp_path / "set")
    (tmp_path / "set" / "recipe.json").write_text(json.dumps({"vae": part_digest(fresh_checkpoint / "vae")}))
    check_run(TINY["stage_two"], fresh_checkpoint, data, 4)


def test_a_batch_that_cannot_be_shared(fresh_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="batch_size is 4 and there are 3 workers; allowed are numbers"):
        check_run(TINY["stage_two"], fresh_checkpoint, PROCEDURAL, 3)


def test_latents_of_another_autoencoder(fresh_checkpoint: Path, tmp_path: Path) -> None:
    data = latents(tmp_path / "set")
    (tmp_path / "set" / "recipe.json").write_text(json.dumps({"vae": "sha256:other"}))
    with pytest.raises(InputError, match="the latents in .* were made by the vae sha256:other, and .*; encode the"):
        check_run(TINY["stage_two"], fresh_checkpoint, data, 1)


def test_embeddings_of_another_text_encoder(fresh_checkpoint: Path, tmp_path: Path) -> None:
    data = latents(tmp_path / "set")
    (tmp_path / "set" / "recipe.json").write_text(json.dumps({"text_encoder": "sha256:other"}))
    with pytest.raises(InputError, match="the embeddings in .* were made by the text_encoder sha256:other, and"):
        check_run(TINY["stage_two"], fresh_checkpoint, data, 1)


def test_latents_without_degraded_ones(fresh_checkpoint: Path, tmp_path: Path) -> None:
    data = latents(tmp_path / "set", degraded_latents=None)
    with pytest.raises(InputError, match="holds latents; stage two starts from degraded_latents: encode the clips"):
        check_run(TINY["stage_two"], fresh_checkpoint, data, 1)
    plain = find_recipe("stage_two", "tiny", {"pixel_degradation": "false"})
    check_run(plain, fresh_checkpoint, data, 1)


def test_latents_where_frames_are_needed(fresh_checkpoint: Path, tmp_path: Path) -> None:
    url = latents(tmp_path / "set")["high"]
    whole = '[{"batch_size": 4, "num_frames": 9, "height": 32, "width": 64}]'
    with pytest.raises(InputError, match="an autoencoder needs frames: give clips"):
        check_run(find_recipe("vae", "tiny", {"views": whole}), fresh_checkpoint, {"clips": url}, 1)
    cropped = whole.replace("}", ', "crop_height": 16}')
    with pytest.raises(InputError, match="the recipe tiny crops; only frames can be cropped"):
        check_run(find_recipe("stage_two", "tiny", {"views": cropped}), fresh_checkpoint, {"clips": url}, 1)


def test_no_text_encoder_where_one_is_needed(fresh_checkpoint: Path, tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    shutil.copytree(fresh_checkpoint, mute)
    shutil.rmtree(mute / "text_encoder")
    for part in ("stage_one", "stage_two"):
        with pytest.raises(InputError, match="has no text encoder, which this recipe and data need"):
            check_run(TINY[part], mute, PROCEDURAL, 1)
    check_run(TINY["vae"], mute, PROCEDURAL, 1)


def test_samples_that_the_checkpoint_cannot_make(fresh_checkpoint: Path) -> None:
    views = '[{"source": "low", "batch_size": 4, "num_frames": 9, "height": 144, "width": 192}]'
    recipe = find_recipe("stage_one", "tiny", {"views": views, "sample_every": "2"})
    with pytest.raises(InputError, match="144"):
        check_run(recipe, fresh_checkpoint, PROCEDURAL, 1)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        check_run(TINY["vae"], tmp_path, PROCEDURAL, 1)


def test_one_url_is_for_all_data_sets_and_names_must_be_the_recipes() -> None:
    assert parse_data(["procedural"], TINY["vae"]) == PROCEDURAL
    assert parse_data(["low=a", "high=b=c"], TINY["vae"]) == {"low": "a", "high": "b=c"}
    for pairs in (["low=a"], ["low=a", "high=b", "wide=c"]):
        with pytest.raises(InputError, match="the recipe tiny takes high, low: give --data NAME=URL for each"):
            parse_data(pairs, TINY["vae"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--recipe=huge"], "error: there is no recipe 'huge' for stage_two; allowed are paper-1,"),
        (["--recipe=tiny", "--set=num_steps=0"], "error: the recipe tiny: num_steps"),
        (["--recipe=paper-2"], "error: batch_size is 64 and there are 3 workers"),
        (["--recipe=tiny"], "error: batch_size is 4 and there are 3 workers"),
    ],
)
def test_a_command_tells_what_is_wrong_in_one_line(
    options: list[str],
    told: str,
    fresh_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    always = [f"--checkpoint={fresh_checkpoint}", "--data=procedural", f"--output={tmp_path}/run", "--num-workers=3"]
    monkeypatch.setattr(sys, "argv", ["train_stage_two", *always, *options])
    with pytest.raises(SystemExit, match="1"):
        run_command(training_app("stage_two"))
    shown = capsys.readouterr().err
    assert shown.startswith(told)
    assert shown.count("\n") == 1
    assert not (tmp_path / "run").exists()
