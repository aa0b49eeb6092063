"""The transformers: diffusers' contract, backends that act, positions that count in integers."""

from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel

from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel

CONFIG = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "time_embed_dim": 8,
    "text_embed_dim": 12,
}
EMBEDS = torch.randn(1, 5, 12)
LATENTS = torch.randn(1, 3, 16, 4, 6)
TIMESTEP = torch.tensor([500.0])
LEVEL = torch.tensor([675.0])


@pytest.fixture(autouse=True)
def _no_grad() -> object:
    with torch.no_grad():
        yield


@pytest.fixture
def stage_one() -> StageOneTransformer3DModel:
    torch.manual_seed(0)
    return StageOneTransformer3DModel(**CONFIG).eval()


@pytest.fixture
def stage_two() -> StageTwoTransformer3DModel:
    torch.manual_seed(0)
    return StageTwoTransformer3DModel(**CONFIG).eval()


def test_stage_one_is_the_stock_model_but_for_positions_and_epsilon(stage_one: StageOneTransformer3DModel) -> None:
    stock = CogVideoXTransformer3DModel(**CONFIG, use_rotary_positional_embeddings=True).eval()
    stock.load_state_dict(stage_one.state_dict())
    stock.norm_out.norm.eps = 1e-6
    positions = stage_one.rotary_positions(LATENTS)
    expected = stock(LATENTS, EMBEDS, TIMESTEP, image_rotary_emb=positions).sample
    torch.testing.assert_close(stage_one(LATENTS, EMBEDS, TIMESTEP).sample, expected, atol=1e-6, rtol=0)


def test_stage_two_without_its_embeddings_is_stage_one(
    stage_one: StageOneTransformer3DModel, stage_two: StageTwoTransformer3DModel
) -> None:
    missing, unexpected = stage_two.load_state_dict(stage_one.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"noise_level_embedding", "num_frames_embedding"}
    for embedding in (stage_two.noise_level_embedding, stage_two.num_frames_embedding):
        torch.nn.init.zeros_(embedding.linear_2.weight)
        torch.nn.init.zeros_(embedding.linear_2.bias)
    expected = stage_one(LATENTS, EMBEDS, TIMESTEP).sample
    torch.testing.assert_close(stage_two(LATENTS, EMBEDS, TIMESTEP, LEVEL).sample, expected, atol=1e-6, rtol=0)


def test_noise_level_matters(stage_two: StageTwoTransformer3DModel) -> None:
    other = stage_two(LATENTS, EMBEDS, TIMESTEP, LEVEL + 100).sample
    assert not torch.allclose(stage_two(LATENTS, EMBEDS, TIMESTEP, LEVEL).sample, other)


@pytest.mark.parametrize("cls", [StageOneTransformer3DModel, StageTwoTransformer3DModel])
def test_saved_and_loaded_again(cls: type, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = cls(**CONFIG).eval()
    model.save_pretrained(tmp_path)
    loaded = cls.from_pretrained(tmp_path)
    assert type(loaded) is cls
    assert loaded.norm_out.norm.eps == 1e-6
    assert dict(loaded.config)["num_layers"] == 2
    assert not caplog.records
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_an_attention_backend_acts(stage_one: StageOneTransformer3DModel) -> None:
    expected = stage_one(LATENTS, EMBEDS, TIMESTEP).sample
    stage_one.set_attention_backend("_native_math")
    torch.testing.assert_close(stage_one(LATENTS, EMBEDS, TIMESTEP).sample, expected, atol=1e-5, rtol=0)
    stage_one.set_attention_backend("_native_cudnn")
    with pytest.raises(RuntimeError, match="No viable backend"):  # the stock processor would ignore the choice
        stage_one(LATENTS, EMBEDS, TIMESTEP)


@pytest.fixture(autouse=True)
def _usual_backend() -> object:
    yield
    StageOneTransformer3DModel(**CONFIG).set_attention_backend("native")


def test_blocks_compile_on_their_own(stage_one: StageOneTransformer3DModel) -> None:
    expected = stage_one(LATENTS, EMBEDS, TIMESTEP).sample
    stage_one.compile_repeated_blocks(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(stage_one(LATENTS, EMBEDS, TIMESTEP).sample, expected, atol=1e-5, rtol=0)


def test_positions_are_integers_at_every_size(stage_one: StageOneTransformer3DModel) -> None:
    cos_small, _ = stage_one.rotary_positions(torch.empty(1, 2, 16, 4, 6))
    cos_large, _ = stage_one.rotary_positions(torch.empty(1, 2, 16, 20, 30))
    small = cos_small.view(2, 2, 3, 16)
    assert torch.equal(small, cos_large.view(2, 10, 15, 16)[:, :2, :3])
    angle_of_first_pair_in_time = torch.acos(small[1, 0, 0, 0].double())
    assert angle_of_first_pair_in_time.item() == pytest.approx(1.0, abs=1e-6)
