"""A checkpoint from another one's parts: whole, of one size, and nobody else's files touched."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fv_ray import presets
from fv_ray.checkpoint import DEFAULT_MODEL, CheckpointInfo
from fv_ray.checkpoint_folder import _digest, replace_parts
from fv_ray.errors import CheckpointError, InputError, StorageError
from fv_ray.models.loading import load_stage_one_transformer, load_stage_two_transformer, load_vae
from fv_ray.presets import ClipSize
from fv_ray.stage_one import StageOne
from fv_ray.text_encoder import load_t5
from fv_ray.types import VideoRequest

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def vae(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint's autoencoder after some training: other weights and a measured scale."""
    folder = tmp_path / "trained"
    model: Any = load_vae(checkpoint)
    with torch.no_grad():
        model.decoder.conv_out.conv.bias.add_(1)
    model.register_to_config(scaling_factor=0.25)
    model.save_pretrained(folder)
    return folder


def change_config(folder: Path, **changes: object) -> None:
    """None removes a field."""
    config = json.loads((folder / "config.json").read_text()) | changes
    told = {field: value for field, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(told))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_autoencoder_brings_its_scale_and_all_else_stays(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    info = replace_parts(checkpoint, tmp_path / "out", {"vae": vae})
    base = CheckpointInfo.read(checkpoint)
    assert CheckpointInfo.read(tmp_path / "out") == info
    assert (info.stage_one_scaling_factor, info.stage_two_scaling_factor) == (0.25, 0.25)
    assert info.digest != base.digest
    changed = {"digest": base.digest, "stage_one_scaling_factor": 0.7, "stage_two_scaling_factor": 1.15258426}
    assert info.model_copy(update=changed) == base
    before, after = files(checkpoint), files(tmp_path / "out")
    assert before.keys() == after.keys()
    different = {name for name in before if before[name] != after[name]}
    assert different == {"model_index.json", "vae/config.json", f"vae/{WEIGHTS}"}
    assert after[f"vae/{WEIGHTS}"] == (vae / WEIGHTS).read_bytes()


def test_the_new_checkpoint_runs(checkpoint: Path, vae: Path, tmp_path: Path, request_: VideoRequest) -> None:
    replace_parts(checkpoint, tmp_path / "out", {"vae": vae})
    preview = StageOne.from_pretrained(tmp_path / "out").generate(request_)
    assert preview.latents_scaling_factor == 0.25


def test_any_other_part_leaves_the_scales_alone(checkpoint: Path, tmp_path: Path) -> None:
    parts = {part: tmp_path / part for part in ("stage_one_transformer", "stage_two_transformer", "text_encoder")}
    for part, folder in parts.items():
        shutil.copytree(checkpoint / part, folder)
    info = replace_parts(checkpoint, tmp_path / "out", parts)
    assert info == CheckpointInfo.read(checkpoint)  # the digest too: the parts are the same
    assert files(tmp_path / "out") == files(checkpoint)


def test_what_a_checkpoint_says_of_itself_can_change(checkpoint: Path, tmp_path: Path) -> None:
    small = presets.small(ClipSize(9, 16, 32, 32, 64))
    info = replace_parts(
        checkpoint, tmp_path / "out", {}, name="mine", presets={"quick": small}, default_preset="quick"
    )
    assert (info.name, info.presets, info.default_preset) == ("mine", {"quick": small}, "quick")
    assert info.digest == CheckpointInfo.read(checkpoint).digest
    assert CheckpointInfo.read(tmp_path / "out") == info


def test_only_what_is_kept_is_linked_and_keeps_its_mode(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(checkpoint, base)
    kept = f"stage_one_transformer/{WEIGHTS}"
    (base / kept).chmod(0o600)
    replace_parts(base, tmp_path / "out", {"vae": vae})
    assert (tmp_path / "out" / kept).samefile(base / kept)
    assert (base / kept).stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "out" / "vae" / WEIGHTS).samefile(vae / WEIGHTS)
    assert files(base) == files(checkpoint)


def test_a_link_to_a_file_of_a_cache_is_followed(checkpoint: Path, tmp_path: Path) -> None:
    base, blob = tmp_path / "base", tmp_path / "blob"
    shutil.copytree(checkpoint, base)
    (base / "vae" / WEIGHTS).rename(blob)
    (base / "vae" / WEIGHTS).symlink_to("../../blob")
    replace_parts(base, tmp_path / "out", {})
    assert not (tmp_path / "out" / "vae" / WEIGHTS).is_symlink()
    assert files(tmp_path / "out") == files(checkpoint)


def test_a_filesystem_without_links_gets_copies(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    replace_parts(checkpoint, tmp_path / "out", {})
    assert files(tmp_path / "out") == files(checkpoint)
    assert {path.stat().st_nlink for path in (tmp_path / "out").rglob("*.*")} == {1}


def test_all_weights_can_be_cast(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    info = replace_parts(checkpoint, tmp_path / "out", {"vae": vae}, dtype=torch.bfloat16)
    assert info.stage_one_scaling_factor == 0.25
    precise, rounded = load_file(vae / WEIGHTS), load_file(tmp_path / "out" / "vae" / WEIGHTS)
    assert precise.keys() == rounded.keys()
    assert all(torch.equal(rounded[name], tensor.bfloat16()) for name, tensor in precise.items())
    for load in (load_stage_one_transformer, load_stage_two_transformer, load_vae):
        assert load(tmp_path / "out", dtype=torch.bfloat16).dtype == torch.bfloat16
    for path in (tmp_path / "out").rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.bfloat16}, path.parent.name
    assert load_t5(tmp_path / "out" / "text_encoder", torch.float32).config.d_model == 64


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_no_configuration_names_the_folder_it_was_loaded_from(
    checkpoint: Path, tmp_path: Path, dtype: torch.dtype | None
) -> None:
    part = tmp_path / "part"
    transformer: Any = load_stage_one_transformer(checkpoint)
    transformer.save_pretrained(part)
    assert "_name_or_path" in (part / "config.json").read_text()  # else diffusers has mended it
    info = replace_parts(checkpoint, tmp_path / "out", {"stage_one_transformer": part}, dtype=dtype)
    assert not [path for path in (tmp_path / "out").rglob("config.json") if "_name_or_path" in path.read_text()]
    assert info.digest == replace_parts(checkpoint, tmp_path / "plain", {}, dtype=dtype).digest


def test_what_else_lies_in_a_parts_folder_is_left_there(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    (vae / "optimizer.bin").write_bytes(b"0")
    (vae / "step-1").mkdir()
    replace_parts(checkpoint, tmp_path / "out", {"vae": vae})
    assert sorted(path.name for path in (tmp_path / "out" / "vae").iterdir()) == ["config.json", WEIGHTS]


def cut_short(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def become_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "the vae in .*trained cannot be read .*; give a folder that a vae's save_pretrained wrote"),
        (become_a_list, "the vae in .*trained cannot be read"),
        (cut_short, "the vae in .*trained cannot be read"),
        (lambda folder: (folder / WEIGHTS).unlink(), "holds no safetensors; the vae is a AutoencoderKLCogVideoX"),
        (lambda folder: change_config(folder, _class_name="AutoencoderKL"), "holds a AutoencoderKL; the vae is a"),
        (lambda folder: change_config(folder, latent_channels=8), "latent channels differ: .* the autoencoder 8"),
        (lambda folder: change_config(folder, scaling_factor=None), "lacks scaling_factor; a vae must say it"),
    ],
)
def test_a_part_that_does_not_fit_leaves_nothing_behind(
    checkpoint: Path, vae: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    change(vae)
    with pytest.raises(CheckpointError, match=message):
        replace_parts(checkpoint, tmp_path / "out", {"vae": vae})
    assert {path.name for path in tmp_path.iterdir()} <= {"trained"}


def test_a_text_encoder_of_another_size_or_vocabulary(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "text_encoder"
    shutil.copytree(checkpoint / "text_encoder", folder)
    change_config(folder, d_model=32)
    with pytest.raises(CheckpointError, match="embedding sizes differ: .* the text encoder 32"):
        replace_parts(checkpoint, tmp_path / "out", {"text_encoder": folder})
    change_config(folder, d_model=64, vocab_size=7)
    with pytest.raises(CheckpointError, match="knows 7 tokens and the tokenizer .*; give the text encoder that"):
        replace_parts(checkpoint, tmp_path / "out", {"text_encoder": folder})


def test_a_scale_that_is_none(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    change_config(vae, scaling_factor=0.0)
    with pytest.raises(InputError, match="stage_one_scaling_factor is 0.0: .* greater than 0; .*; give others"):
        replace_parts(checkpoint, tmp_path / "out", {"vae": vae})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name is ''"),
        ({"default_preset": "none"}, "default_preset is 'none'; it must be one of released, paper"),
        (
            {"presets": {"released": presets.small(ClipSize(9, 30, 48, 128, 192))}},
            "height of stage one is 30",
        ),
    ],
)
def test_words_that_are_not_allowed(checkpoint: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace_parts(checkpoint, tmp_path / "out", {}, **changes)
    assert not list(tmp_path.iterdir())


def test_an_unknown_part(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no part 'unet'; a checkpoint has stage_one_transformer, .*; give one of them"
    ):
        replace_parts(checkpoint, tmp_path / "out", {"unet": tmp_path})


def test_a_text_encoder_for_a_base_without_one(checkpoint: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(checkpoint, base)
    index = json.loads((base / "model_index.json").read_text())
    for part in ("text_encoder", "tokenizer"):
        del index[part]
        shutil.rmtree(base / part)
    (base / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="has no text_encoder .*; a part can be replaced, not added"):
        replace_parts(base, tmp_path / "out", {"text_encoder": checkpoint / "text_encoder"})
    replace_parts(base, tmp_path / "out", {})
    assert not (tmp_path / "out" / "tokenizer").exists()


def test_an_output_that_is_taken(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        replace_parts(checkpoint, tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_base_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        replace_parts(tmp_path / "none", tmp_path / "out", {})


def test_weights_of_another_model_are_found_when_they_are_cast(checkpoint: Path, vae: Path, tmp_path: Path) -> None:
    weights = load_file(vae / WEIGHTS)
    del weights["decoder.conv_out.conv.bias"]
    save_file(weights, vae / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="is of another model"):
        replace_parts(checkpoint, tmp_path / "out", {"vae": vae}, dtype=torch.bfloat16)
    assert not (tmp_path / "out").exists()


def test_the_embedded_model_is_whole_and_small() -> None:
    info = CheckpointInfo.read(DEFAULT_MODEL)
    assert _digest(DEFAULT_MODEL, info) == info.digest
    assert sum(path.stat().st_size for path in DEFAULT_MODEL.rglob("*")) < 20e6
