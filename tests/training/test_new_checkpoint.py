"""A fresh checkpoint: whole, repeatable, of the released architecture, and predicting zero."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError, StorageError, UnknownWords
from fv_ray.models.loading import load_stage_one_transformer, load_stage_two_transformer, load_vae
from fv_ray.text_encoder import load_text_encoder
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.new_checkpoint import MAX_PROMPT_TOKENS, new_checkpoint
from fv_ray.training.procedural.captions import vocabulary

PARTS = ("stage_one_transformer", "stage_two_transformer", "vae", "text_encoder")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    new_checkpoint(folder, "small", 0)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    new_checkpoint(folder, "tiny", 0)
    return folder


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    (path,) = (folder / part).glob("*.safetensors")
    return load_file(path)


def config(folder: Path, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / part / "config.json").read_text())
    return found


def test_it_runs_end_to_end(tiny: Path) -> None:
    models = TextToVideo.from_pretrained(tiny)
    request = models.checkpoint.request("a small red ball drifts left", seed=1)
    assert models.generate(request).frames_FHWC.shape == (9, 32, 64, 3)


def test_a_prompt_of_unknown_words_is_a_prompt(tiny: Path) -> None:
    encoder = load_text_encoder(tiny, MAX_PROMPT_TOKENS, device="cpu", dtype=torch.float32)
    assert encoder is not None
    with pytest.warns(UnknownWords, match="owls, sleep"):
        unknown, silent, known = encoder.encode(["owls sleep", "...", "a red ball"])
    torch.testing.assert_close(unknown, silent)
    assert unknown.isfinite().all()
    assert not torch.allclose(unknown, known)
    models = TextToVideo.from_pretrained(tiny)
    with pytest.warns(UnknownWords):
        video = models.generate(models.checkpoint.request("owls sleep", seed=1))
    assert video.frames_FHWC.shape == (9, 32, 64, 3)


def test_the_default_model_says_what_it_makes(small: Path) -> None:
    info = CheckpointInfo.read(small)
    request = info.request("a red ball", seed=0)
    one, two = request.stage_one, request.stage_two
    assert (info.name, info.default_preset, info.fps, info.max_prompt_tokens) == ("small", "small", 8, 32)
    assert (one.num_frames, one.height, one.width, two.height, two.width) == (9, 32, 48, 128, 192)
    assert (one.num_inference_steps, one.guidance_scale) == (20, 4.0)
    assert (two.num_inference_steps, two.guidance_scale, two.shift, two.noise_level) == (4, 1.5, 1.0, 500)
    assert one.prompt_prefix == two.prompt_prefix == ""
    assert (info.max_frames, info.stage_one_limits.max_width, info.stage_two_limits.max_width) == (49, 192, 768)
    assert (info.stage_one_scaling_factor, info.stage_two_scaling_factor) == (1.0, 1.0)
    assert load_vae(small).config.scaling_factor == 1.0


def test_the_default_model_is_under_20_mb_in_bfloat16(small: Path) -> None:
    numbers = {part: sum(tensor.numel() for tensor in weights(small, part).values()) for part in PARTS}
    assert {part: round(number, -4) for part, number in numbers.items()} == {
        "stage_one_transformer": 4_840_000,
        "stage_two_transformer": 1_870_000,
        "vae": 2_090_000,
        "text_encoder": 100_000,
    }
    assert 2 * sum(numbers.values()) < 20e6
    assert {tensor.dtype for part in PARTS for tensor in weights(small, part).values()} == {torch.float32}


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_it_is_configured_as_a_converted_checkpoint(
    checkpoint: Path, size: str, request: pytest.FixtureRequest
) -> None:
    fresh = request.getfixturevalue(size)
    sizes = {"num_layers", "num_attention_heads", "attention_head_dim", "time_embed_dim", "text_embed_dim"}
    sizes |= {"block_out_channels", "layers_per_block", "norm_num_groups", "scaling_factor", "max_text_seq_length"}
    for part in PARTS[:3]:
        new, converted = config(fresh, part), config(checkpoint, part)
        assert new.keys() == converted.keys()
        assert {field for field in new if new[field] != converted[field]} <= sizes
    assert config(fresh, "stage_one_transformer")["max_text_seq_length"] == MAX_PROMPT_TOKENS
    assert config(fresh, "text_encoder")["vocab_size"] == len(vocabulary()) + 2


@pytest.mark.parametrize("size", ["small", "tiny"])
@torch.no_grad()
def test_it_predicts_zero(size: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(size)
    one, two = load_stage_one_transformer(folder), load_stage_two_transformer(folder)
    latents, prompt = torch.randn(2, 3, 16, 4, 6), torch.randn(2, MAX_PROMPT_TOKENS, one.config.text_embed_dim)
    timesteps = torch.tensor([3.0, 900.0])
    assert not one(latents, prompt, timesteps, return_dict=False)[0].any()
    assert not two(latents, prompt, timesteps, torch.tensor([500, 500]), return_dict=False)[0].any()


@torch.no_grad()
def test_every_block_passes_its_input_on(tiny: Path) -> None:
    transformer = load_stage_two_transformer(tiny)
    video, text, embedding = torch.randn(1, 24, 32), torch.randn(1, MAX_PROMPT_TOKENS, 32), torch.randn(1, 16)
    positions = transformer.rotary_positions(torch.empty(1, 3, 16, 4, 8))
    for block in transformer.transformer_blocks:
        video_out, text_out = block(video, text, embedding, positions)
        assert torch.equal(video_out, video)
        assert torch.equal(text_out, text)


def test_every_weight_learns_from_the_third_step_on(tiny: Path) -> None:
    # At first only the output projection has a gradient, then its modulations, then what they let through.
    model = load_stage_two_transformer(tiny).requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    latents, target = torch.randn(2, 2, 3, 16, 4, 8, generator=generator)
    prompt = torch.randn(2, MAX_PROMPT_TOKENS, 32, generator=generator)
    seen: set[str] = set()
    for _ in range(3):
        optimizer.zero_grad()
        predicted = model(latents, prompt, torch.tensor([3.0, 900.0]), torch.tensor([500, 600]), return_dict=False)[0]
        (predicted - target).square().mean().backward()
        seen |= {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
        optimizer.step()
    assert seen == {name for name, _ in model.named_parameters()}


def test_a_seed_is_the_same_bytes_and_another_is_not(tiny: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    again, other = new_checkpoint(tmp_path / "again", "tiny", 0), new_checkpoint(tmp_path / "other", "tiny", 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")} for f in (tiny, tmp_path / "again"))
    assert first == second
    assert again == CheckpointInfo.read(tiny)
    assert other.digest != again.digest


@pytest.mark.parametrize(
    ("size", "seed", "message"), [("huge", 0, "size is 'huge'; it must be small or tiny"), ("tiny", -1, "seed is -1")]
)
def test_what_cannot_be_made(tmp_path: Path, size: Literal["tiny"], seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        new_checkpoint(tmp_path / "out", size, seed)
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_taken(tiny: Path) -> None:
    with pytest.raises(StorageError, match="already exists"):
        new_checkpoint(tiny, "tiny", 1)
