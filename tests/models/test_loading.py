import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fv_ray.errors import CheckpointError
from fv_ray.models.loading import (
    load_stage_one_transformer,
    load_stage_two_transformer,
    load_vae,
    read_released,
)
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel
from tests.tiny import RELEASED

CASES = Path(__file__).parents[1] / "parity" / "golden" / "cases"
NOISE_LEVEL = 675
WEIGHTS = "diffusion_pytorch_model.safetensors"


def golden(name: str) -> tuple[dict[str, torch.Tensor], float]:
    """A case's tensors with its strict tolerance."""
    tolerance = json.loads((CASES / f"{name}.json").read_text())["tolerance"]["strict"]
    return load_file(CASES / f"{name}.safetensors"), tolerance


@pytest.mark.parametrize("case", ["a", "b", "c"])
@torch.no_grad()
def test_stage_one_predicts_what_the_released_code_does(checkpoint: Path, case: str) -> None:
    tensors, strict = golden(f"stage1_transformer_{case}")
    model = load_stage_one_transformer(checkpoint)
    found = model(tensors["x"], tensors["context"], tensors["timesteps"]).sample
    torch.testing.assert_close(found, tensors["out_merged"], rtol=0, atol=strict)


@pytest.mark.parametrize("case", ["a", "b", "c"])
@torch.no_grad()
def test_stage_two_predicts_what_the_released_code_does(checkpoint: Path, case: str) -> None:
    tensors, strict = golden(f"stage2_transformer_{case}")
    model = load_stage_two_transformer(checkpoint)
    noise_level = torch.full_like(tensors["timesteps"], NOISE_LEVEL)
    found = model(tensors["x"], tensors["context"], tensors["timesteps"], noise_level).sample
    torch.testing.assert_close(found, tensors["out"], rtol=0, atol=strict)


@pytest.mark.parametrize("load", [load_stage_one_transformer, load_stage_two_transformer, load_vae])
def test_a_part_is_ready_to_run(checkpoint: Path, load: Callable[..., Any]) -> None:
    model = load(checkpoint, device="cpu", dtype=torch.bfloat16)
    assert not model.training
    assert {(p.dtype, p.requires_grad, p.device.type) for p in model.parameters()} == {(torch.bfloat16, False, "cpu")}


@pytest.mark.parametrize(
    ("model_class", "part"),
    [(StageOneTransformer3DModel, "stage_one_transformer"), (StageTwoTransformer3DModel, "stage_two_transformer")],
)
def test_a_saved_transformer_keeps_its_configuration(
    checkpoint: Path,
    tmp_path: Path,
    model_class: type[StageOneTransformer3DModel],
    part: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = json.loads((checkpoint / part / "config.json").read_text())
    model_class.from_pretrained(checkpoint / part).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == config | {"_name_or_path": str(checkpoint / part)}
    again = model_class.from_pretrained(tmp_path)
    assert again.norm_out.norm.eps == 1e-6
    assert not caplog.records


def with_config(part: Path, **changes: object) -> None:
    config = json.loads((part / "config.json").read_text())
    (part / "config.json").write_text(json.dumps(config | changes))


def replace(part: Path, other: str) -> None:
    shutil.rmtree(part)
    shutil.copytree(part.parent / other, part)


def shard_and_lose_one(part: Path) -> None:
    StageOneTransformer3DModel.from_pretrained(part).save_pretrained(part, max_shard_size="500KB")
    (part / WEIGHTS).unlink()
    next(part.glob("*-00002-of-*.safetensors")).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "stage_one_transformer does not exist; give a folder that `fv-ray convert` wrote"),
        (lambda part: (part / "config.json").unlink(), r"cannot be loaded \(.*config.json.*\); convert"),
        (lambda part: (part / "config.json").write_text("{"), "config.json' is not a valid JSON"),
        (lambda part: (part / WEIGHTS).unlink(), "cannot be loaded .*safetensors"),
        (lambda part: os.truncate(part / WEIGHTS, 1_000_000), "cannot be loaded .*diffusion_pytorch_model.safetensors"),
        (shard_and_lose_one, "cannot be loaded .*00002-of-.*; convert"),
        (lambda part: with_config(part, num_layers=3), "is of another model .missing_keys: transformer_blocks.2"),
        (lambda part: with_config(part, num_layers=1), "is of another model .unexpected_keys: transformer_blocks.1"),
        (lambda part: with_config(part, text_embed_dim=48), r"cannot be loaded .*text_proj.weight.*\[128, 48\].*64"),
        (lambda part: replace(part, "stage_two_transformer"), "holds a StageTwo.*, not a StageOneTransformer3DModel"),
        (lambda part: replace(part, "text_encoder"), "stage_one_transformer cannot be loaded"),
    ],
)
def test_a_damaged_part_is_named(
    checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    damage(folder / "stage_one_transformer")
    with pytest.raises(CheckpointError, match=message):
        load_stage_one_transformer(folder)


def test_released_tensors_stay_on_disk() -> None:
    tensor = read_released(RELEASED / "stage1.pt")["module"]["model.diffusion_model.time_embed.0.weight"]
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "stage1.pt" in line]
    ranges = [[int(end, 16) for end in fields[0].split("-")] for fields in maps]
    assert any(start <= tensor.data_ptr() < end for start, end in ranges)


def test_the_format_before_zip_is_read_too(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_released(tmp_path / "old.pt")["a"], torch.ones(2))


def write_text(path: Path) -> None:
    path.write_text("these are not the weights you are looking for\n" * 10)


def write_half(path: Path) -> None:
    content = (RELEASED / "stage1.pt").read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda _path: None, r"cannot be read \(No such file or directory\); give a released .pt file"),
        (Path.mkdir, r"cannot be read \(Is a directory\)"),
        (Path.touch, "was not written by torch.save, or is damaged"),
        (write_text, "was not written by torch.save, or is damaged; give a released .pt file"),
        (write_half, "is cut short at 691800 bytes; download it again"),
        (lambda path: torch.save([1], path), "holds a list, not a state dict"),
    ],
)
def test_an_unreadable_file_says_why(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "stage1.pt")
    with pytest.raises(CheckpointError, match=f"stage1.pt {message}"):
        read_released(tmp_path / "stage1.pt")


class Malicious:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("form", ["zip", "before zip", "pickle", "pickle protocol 2"])
def test_code_in_a_file_is_never_run(tmp_path: Path, form: str) -> None:
    witness, path = tmp_path / "witness", tmp_path / "stage1.pt"
    document = {"module": Malicious(witness)}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(document, protocol=2 if form.endswith("2") else None))
    else:
        torch.save(document, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(
        CheckpointError, match=r"was refused: it holds code \(posix\.mkdir\)|was not written by torch.save"
    ):
        read_released(path)
    assert not witness.exists()


def test_damage_in_the_middle_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "stage1.pt"
    content = bytearray((RELEASED / "stage1.pt").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: the checksum of .* is wrong; download it again"):
        read_released(file)
