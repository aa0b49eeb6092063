import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, BertModel

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.conversion import convert
from fv_ray.errors import CheckpointError, InputError, StorageError
from fv_ray.models.loading import load_stage_one_transformer, load_stage_two_transformer, load_vae
from fv_ray.presets import RELEASED_SIZE, ClipSize
from fv_ray.text_encoder import load_text_encoder
from tests import tiny
from tests.tiny import RELEASED, make_text_encoder

STAGE_ONE = "stage_one_transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_encoder")
    make_text_encoder(folder)
    return folder


def convert_tiny(output: Path, **changes: object) -> CheckpointInfo:
    """Convert the golden weights without a text encoder, but for `changes`."""
    files = {"stage_one": RELEASED / "stage1.pt", "stage_two": RELEASED / "stage2.pt", "vae": RELEASED / "3d-vae.pt"}
    arguments: dict[str, Any] = {"text_encoder": None, "output": output, **files, **changes}
    return convert(**arguments)


def save_changed(path: Path, source: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A golden file with some tensors changed."""
    wrapper = "state_dict" if source == "3d-vae" else "module"
    tensors = torch.load(RELEASED / f"{source}.pt", weights_only=True)[wrapper]
    change(tensors)
    torch.save({wrapper: tensors}, path)
    return path


def test_the_folder_tells_what_convert_returned(tmp_path: Path) -> None:
    parts: list[str] = []
    info = convert_tiny(tmp_path / "out", name="mine", on_part=parts.append)
    assert CheckpointInfo.read(tmp_path / "out") == info
    assert (info.name, info.fps, info.max_frames) == ("mine", 8, 49)
    assert (info.stage_one_scaling_factor, info.stage_two_scaling_factor) == (0.7, 1.15258426)
    assert parts == ["stage_one_transformer", "stage_two_transformer", "vae"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model_index.json",
        *sorted(parts),
    ]


def test_the_index_lists_components_as_diffusers_does(checkpoint: Path) -> None:
    index = json.loads((checkpoint / "model_index.json").read_text())
    info = index.pop("fv_ray")
    assert info["default_preset"] == "released"
    assert index.pop("_class_name") == "TextToVideo"
    assert index.pop("_diffusers_version")
    assert {name: component[1] for name, component in index.items()} == {
        "stage_one_transformer": "StageOneTransformer3DModel",
        "stage_two_transformer": "StageTwoTransformer3DModel",
        "vae": "AutoencoderKLCogVideoX",
        "text_encoder": "T5EncoderModel",
        "tokenizer": "TokenizersBackend",
    }


@pytest.mark.parametrize(
    "changes",
    [{"dtype": torch.bfloat16}, {"max_prompt_tokens": 8}, {"text_encoder": None}, {"stage_one": "merged"}],
    ids=lambda changes: next(iter(changes)),
)
def test_all_that_decides_numbers_is_in_the_digest(
    checkpoint: Path, text_encoder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    same = {"text_encoder": text_encoder, "dtype": torch.float32}
    if "stage_one" in changes:
        bias = "model.diffusion_model.mixins.final_layer.linear.bias"
        changes = {"stage_one": released_file(tmp_path / "stage1.pt", {bias: torch.zeros(64)})}
    assert convert_tiny(tmp_path / "same", **same, name="other").digest == CheckpointInfo.read(checkpoint).digest
    assert convert_tiny(tmp_path / "changed", **same | changes).digest != CheckpointInfo.read(checkpoint).digest


def test_the_tiny_checkpoint_is_the_same_in_every_run(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tiny", str(tmp_path / "again")]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], capture_output=True)
    first, again = ({p.name: p.read_bytes() for p in f.rglob("*.*")} for f in (checkpoint, tmp_path / "again"))
    assert first == again


def test_a_tiny_checkpoint_is_made_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (checkpoint / STAGE_ONE).stat()
    monkeypatch.setattr(sys, "argv", ["tiny", str(checkpoint)])
    tiny.main()
    assert (checkpoint / STAGE_ONE).stat() == before


def test_every_file_can_be_read_by_others(checkpoint: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in checkpoint.rglob("*") if path.is_file()}
    assert modes == {(checkpoint / "model_index.json").stat().st_mode & 0o777}


def test_weights_are_bfloat16_unless_asked_otherwise(checkpoint: Path, tmp_path: Path) -> None:
    convert_tiny(tmp_path / "out")
    precise, rounded = load_file(checkpoint / STAGE_ONE), load_file(tmp_path / "out" / STAGE_ONE)
    assert {tensor.dtype for tensor in precise.values()} == {torch.float32}
    assert all(torch.equal(rounded[name], tensor.bfloat16()) for name, tensor in precise.items())
    for load in (load_stage_one_transformer, load_stage_two_transformer, load_vae):
        assert load(tmp_path / "out", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_small_model_gets_small_sizes_and_its_tokenizers_window(checkpoint: Path) -> None:
    info = CheckpointInfo.read(checkpoint)
    request = info.request("a fox", seed=0)
    assert (request.stage_one.height, request.stage_two.width) == (32, 192)
    assert (info.stage_one_limits.max_height, info.stage_two_limits.max_width) == (128, 768)
    assert info.max_prompt_tokens == 16


def test_the_window_of_prompt_embeddings_can_be_told(tmp_path: Path) -> None:
    assert convert_tiny(tmp_path / "default").max_prompt_tokens == 226
    assert convert_tiny(tmp_path / "told", max_prompt_tokens=16).max_prompt_tokens == 16
    assert load_stage_one_transformer(tmp_path / "told").config.max_text_seq_length == 16


def test_a_larger_default_size_widens_the_limits(tmp_path: Path) -> None:
    info = convert_tiny(tmp_path / "out", size=RELEASED_SIZE)
    assert info.presets["paper"].stage_two.width == 1920
    assert (info.stage_one_limits.max_height, info.stage_two_limits.max_height) == (256, 1072)


def test_the_text_encoder_is_taken_along(checkpoint: Path) -> None:
    encoder = load_text_encoder(checkpoint, 16, device="cpu", dtype=torch.float32)
    assert encoder is not None
    fox, owl = encoder.encode(["a red fox runs", "a white owl sleeps"])
    assert fox.shape == (16, 64)
    assert not torch.equal(fox, owl)


def test_the_text_encoder_and_its_tokenizer_may_lie_in_one_folder(
    checkpoint: Path, text_encoder: Path, tmp_path: Path
) -> None:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(text_encoder / part, tmp_path / "flat", dirs_exist_ok=True)
    info = convert_tiny(tmp_path / "out", text_encoder=str(tmp_path / "flat"), dtype=torch.float32)
    assert info.digest == CheckpointInfo.read(checkpoint).digest


def remove_last_norm(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.diffusion_model.transformer.final_layernorm.weight"]


def use_shorter_text(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.diffusion_model.mixins.patch_embed.text_proj.weight"] = torch.zeros(128, 48)


def use_fewer_latent_channels(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.diffusion_model.mixins.patch_embed.proj.weight"] = torch.zeros(128, 8, 2, 2)


@pytest.mark.parametrize(
    ("part", "source", "change", "message"),
    [
        (
            "stage_one",
            "stage1",
            remove_last_norm,
            "changed.pt: the stage one transformer lacks .*final_layernorm.weight",
        ),
        ("stage_one", "stage2", dict.copy, "changed.pt: these are the weights of the stage two transformer"),
        ("stage_two", "stage2", use_shorter_text, "prompt embedding sizes differ: stage one 64, stage two 48"),
        ("stage_one", "stage1", use_fewer_latent_channels, "latent channels differ: stage one in 8, stage one out 16"),
    ],
)
def test_files_that_do_not_fit_leave_nothing_behind(
    tmp_path: Path, part: str, source: str, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    path = save_changed(tmp_path / "changed.pt", source, change)
    with pytest.raises(CheckpointError, match=message):
        convert_tiny(tmp_path / "out", **{part: path})
    assert [entry.name for entry in tmp_path.iterdir()] == ["changed.pt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": ClipSize(17, 30, 48, 128, 192)}, "height of stage one is 30"),
        ({"size": ClipSize(18, 32, 48, 128, 192)}, "num_frames is 18"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens is 0; it must be 1 or more"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        convert_tiny(tmp_path / "out", **changes)
    assert not list(tmp_path.iterdir())


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def become_bert(folder: Path) -> None:
    config = BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8, vocab_size=8)
    BertModel(config).save_pretrained(folder / "text_encoder")


def become_pickle(folder: Path) -> None:
    weights = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "cannot be opened .*; give a folder or the id of a hub repository"),
        (remove("text_encoder/config.json"), "is no text encoder: it must hold config.json"),
        (remove("tokenizer/tokenizer.json"), "is no text encoder: .* one of tokenizer.json, spiece.model"),
        (become_bert, "is a bert model; give a T5 encoder"),
        (become_pickle, "cannot be loaded .*; give it whole"),
        (
            lambda folder: make_text_encoder(folder, embed_dim=32),
            "differ: stage one 64, stage two 64, the text encoder 32",
        ),
    ],
)
def test_a_wrong_text_encoder_is_refused(
    text_encoder: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "text_encoder"
    shutil.copytree(text_encoder, folder)
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        convert_tiny(tmp_path / "out", text_encoder=str(folder))
    assert not (tmp_path / "out").exists()


def test_a_text_encoder_that_the_hub_does_not_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="text encoder nobody/nothing cannot be opened"):
        convert_tiny(tmp_path / "out", text_encoder="nobody/nothing")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        convert_tiny(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """Writing past the limit fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit_bytes", [500, 1_000_000, 4_000_000], ids=["config", "transformer", "vae"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, limit_bytes: int) -> None:
    with files_no_larger_than(limit_bytes), pytest.raises(StorageError, match=r"out cannot be written .*; free space"):
        convert_tiny(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [ClipSize(0, 16, 16, 16, 16), ClipSize(5, 0, 16, 16, 16)])
def test_a_default_size_that_is_none(tmp_path: Path, size: ClipSize) -> None:
    with pytest.raises(InputError, match="is 0: Input should be greater than or equal to 1"):
        convert_tiny(tmp_path / "out", size=size)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_found_first() -> None:
    parts: list[str] = []
    with pytest.raises(StorageError, match="cannot be written"):
        convert_tiny(Path("/proc/nowhere"), on_part=parts.append)
    assert parts == []


def released_file(path: Path, changes: dict[str, Tensor]) -> Path:
    released = torch.load(RELEASED / "stage1.pt", weights_only=True)
    torch.save({"module": released["module"] | changes}, path)
    return path


def test_an_unknown_tensor_may_be_ignored_by_name(tmp_path: Path) -> None:
    name = "model.diffusion_model.transformer.word_embeddings.weight"
    file = released_file(tmp_path / "stage1.pt", {name: torch.zeros(1, 128)})
    with pytest.raises(CheckpointError, match="has no model.diffusion_model.transformer.word_embeddings.weight"):
        convert_tiny(tmp_path / "out", stage_one=file)
    ignored = convert_tiny(tmp_path / "out", stage_one=file, ignored=[name])
    assert ignored.digest == convert_tiny(tmp_path / "plain").digest


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    name = "model.diffusion_model.mixins.final_layer.linear.bias"
    file = released_file(tmp_path / "stage1.pt", {name: torch.full((64,), torch.nan)})
    with pytest.raises(CheckpointError, match=r"stage_one_transformer\.proj_out\.bias holds NaN or infinity"):
        convert_tiny(tmp_path / "out", stage_one=file)
    assert not (tmp_path / "out").exists()
