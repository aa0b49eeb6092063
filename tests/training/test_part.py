"""Each part of the model: what it trains, that it learns, and that what it saves runs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.checkpoint_folder import replace_parts
from fv_ray.errors import CheckpointError
from fv_ray.stage_one import StageOne
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.part import TrainedPart
from fv_ray.training.recipe import StageOneRecipe, StageTwoRecipe, VAERecipe, View
from fv_ray.training.stage_one_part import LORA_FILE, LORA_FOLDER, StageOnePart
from fv_ray.training.stage_two_part import StageTwoPart
from fv_ray.training.vae_part import VAEPart

CPU = torch.device("cpu")
VALUES: dict[str, Any] = {
    "name": "test",
    "num_steps": 10,
    "views": (View(batch_size=2, num_frames=9, height=16, width=32),),
    "learning_rate": 1e-2,
}
KINDS = ("vae", "stage_one", "stage_one_with_text_encoder", "stage_one_lora", "stage_two", "stage_two_from_noise")


def make(kind: str, checkpoint: Path) -> TrainedPart:
    if kind == "vae":
        return VAEPart(checkpoint, VAERecipe(**VALUES), CPU)
    if kind.startswith("stage_two"):
        return StageTwoPart(checkpoint, StageTwoRecipe(**VALUES, starts_from_noise=kind.endswith("noise")), CPU)
    changes = {"trains_text_encoder": kind.endswith("text_encoder"), "lora_rank": 2 if kind.endswith("lora") else 0}
    torch.manual_seed(0)
    return StageOnePart(checkpoint, StageOneRecipe(**VALUES, **changes), CPU)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(2, 3, 16, 2, 4, generator=generator) for _ in range(2)]
    frames = torch.randint(0, 255, (2, 1, 1, 1, 3), generator=generator, dtype=torch.uint8).expand(2, 9, 16, 32, 3)
    tensors = {"frames": frames, "latents": latents[0], "degraded_latents": latents[1]}
    return Batch(0, (0, 1), 2, ("a", "b"), ("a red ball drifts left", "a blue ring"), tensors)


def loss_of(part: TrainedPart) -> torch.Tensor:
    return part.loss(part.module, batch(), SampleDraws(0, 0, (0, 1), 2))[0]


def train(part: TrainedPart, num_steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([each for each in part.module.parameters() if each.requires_grad], lr=1e-2)
    losses = []
    for _ in range(num_steps):
        loss = loss_of(part)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


def assembled(part: TrainedPart, base: Path, folder: Path) -> Path:
    parts = folder / "parts"
    parts.mkdir()
    part.save(parts, part.module.state_dict())
    replace_parts(base, folder / "assembled", {path.name: path for path in parts.iterdir()})
    return folder / "assembled"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stage_one_lora"])
def test_it_learns_one_batch(kind: str, fresh_checkpoint: Path) -> None:
    losses = train(make(kind, fresh_checkpoint), 12)
    assert torch.tensor(losses).isfinite().all()
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_what_is_meant_gets_gradients(kind: str, fresh_checkpoint: Path) -> None:
    part = make(kind, fresh_checkpoint)
    train(part, 1)  # what begins at zero hands on no gradient yet
    torch.autograd.backward(loss_of(part))
    got = {name for name, each in part.module.named_parameters() if each.grad is not None}
    names = {name for name, _ in part.module.named_parameters()}
    assert got == ({name for name in names if "lora_" in name} if kind == "stage_one_lora" else names)
    rooms = {name.partition(".")[0] for name in got}
    expected = {"vae": {"vae"}, "stage_one_with_text_encoder": {"transformer", "text_encoder"}}
    assert rooms == expected.get(kind, {"transformer"})


@pytest.mark.parametrize("kind", ["vae", "stage_one_with_text_encoder", "stage_two"])
def test_what_is_saved_runs_and_shows_something_else(kind: str, fresh_checkpoint: Path, tmp_path: Path) -> None:
    part = make(kind, fresh_checkpoint)
    train(part, 2)
    before, after = (
        TextToVideo.from_pretrained(folder)
        for folder in (fresh_checkpoint, assembled(part, fresh_checkpoint, tmp_path))
    )
    frames = [
        models.generate(models.checkpoint.request("a red ball", seed=1)).frames_FHWC for models in (before, after)
    ]
    assert frames[0].shape == frames[1].shape == (9, 32, 64, 3)
    assert (frames[0] != frames[1]).any()


def test_a_trained_text_encoder_is_saved_as_it_is(fresh_checkpoint: Path, tmp_path: Path) -> None:
    part = make("stage_one_with_text_encoder", fresh_checkpoint)
    train(part, 2)
    folder = assembled(part, fresh_checkpoint, tmp_path)
    stored, base = (load_file(each / "text_encoder" / "model.safetensors") for each in (folder, fresh_checkpoint))
    assert stored.keys() == base.keys()
    encoder = StageOne.from_pretrained(folder).text_encoder
    assert encoder is not None
    own = part.module.text_encoder(encoder.tokens(["a red ball"])).last_hidden_state
    torch.testing.assert_close(encoder.encode(["a red ball"]), own)


def test_the_latents_scale_is_measured_and_comes_along(fresh_checkpoint: Path, tmp_path: Path) -> None:
    part = make("vae", fresh_checkpoint)
    train(part, 3)
    info = CheckpointInfo.read(assembled(part, fresh_checkpoint, tmp_path))
    measured = part.module.get_buffer("mean_square").rsqrt().item()
    assert measured != 1
    assert info.stage_one_scaling_factor == info.stage_two_scaling_factor == pytest.approx(measured)


def test_a_lora_is_saved_as_diffusers_loads_it_and_changes_the_preview(fresh_checkpoint: Path, tmp_path: Path) -> None:
    whole = make("stage_one", fresh_checkpoint)
    train(whole, 2)  # over a transformer that predicts zero, a LoRA of the attention shows nothing
    base = assembled(whole, fresh_checkpoint, tmp_path)
    part = make("stage_one_lora", base)
    before = {name: each.clone() for name, each in part.module.state_dict().items() if "lora_" not in name}
    losses = train(part, 12)
    assert losses[-1] < losses[0]
    for name, each in before.items():
        assert torch.equal(part.module.state_dict()[name], each)
    part.save(tmp_path, part.module.state_dict())
    stage_one = StageOne.from_pretrained(base)
    request = stage_one.checkpoint.request("a red ball", seed=1)
    plain = stage_one.generate(request).latents_FCHW
    stage_one.load_loras({tmp_path / LORA_FOLDER / LORA_FILE: 1.0})
    assert abs(stage_one.generate(request).latents_FCHW - plain).max() > 1e-4


def test_a_part_that_trains_a_missing_text_encoder_is_refused(fresh_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(fresh_checkpoint, tmp_path / "mute")
    shutil.rmtree(tmp_path / "mute" / "text_encoder")
    with pytest.raises(CheckpointError, match="no text encoder to train; set trains_text_encoder to false"):
        make("stage_one_with_text_encoder", tmp_path / "mute")
