"""LoRA files: they act as their matrices say, and a wrong one is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fv_ray.errors import InputError
from fv_ray.models.lora import load_loras
from fv_ray.models.transformer import StageOneTransformer3DModel

CONFIG = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "time_embed_dim": 8,
    "text_embed_dim": 12,
}
LAYER = "transformer.transformer_blocks.0.attn1.to_q"
INPUTS = (torch.randn(1, 3, 16, 4, 6), torch.randn(1, 5, 12), torch.tensor([5.0]))


@pytest.fixture
def transformer() -> StageOneTransformer3DModel:
    return StageOneTransformer3DModel(**CONFIG).eval().requires_grad_(False)


def lora_file(path: Path, a: Tensor, b: Tensor, layer: str = LAYER) -> Path:
    save_file({f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}, path)
    return path


def test_two_loras_add_their_scaled_products(transformer: StageOneTransformer3DModel, tmp_path: Path) -> None:
    pairs = [(torch.randn(4, 32), torch.randn(32, 4)) for _ in range(2)]
    weight = transformer.transformer_blocks[0].attn1.to_q.weight
    before = weight.clone()
    weight += 0.5 * pairs[0][1] @ pairs[0][0] + 2 * pairs[1][1] @ pairs[1][0]
    expected = transformer(*INPUTS).sample
    weight.copy_(before)
    plain = transformer(*INPUTS).sample
    assert not torch.allclose(plain, expected, atol=1e-3)

    files = [lora_file(tmp_path / f"{i}.safetensors", *pair) for i, pair in enumerate(pairs)]
    load_loras(transformer, {files[0]: 0.5, files[1]: 2.0})
    torch.testing.assert_close(transformer(*INPUTS).sample, expected, atol=1e-4, rtol=0)
    load_loras(transformer, {files[0]: 0.0})
    torch.testing.assert_close(transformer(*INPUTS).sample, plain, atol=1e-5, rtol=0)


def test_a_lora_of_another_size(transformer: StageOneTransformer3DModel, tmp_path: Path) -> None:
    file = lora_file(tmp_path / "l.safetensors", torch.randn(4, 64), torch.randn(32, 4))
    with pytest.raises(InputError, match="does not fit this transformer"):
        load_loras(transformer, {file: 1.0})


def test_a_lora_of_another_layer(transformer: StageOneTransformer3DModel, tmp_path: Path) -> None:
    file = lora_file(tmp_path / "l.safetensors", torch.randn(4, 32), torch.randn(32, 4), "transformer.blocks.0.q")
    with pytest.raises(InputError, match="does not fit this transformer"):
        load_loras(transformer, {file: 1.0})


def test_a_lora_of_another_model(transformer: StageOneTransformer3DModel, tmp_path: Path) -> None:
    file = lora_file(tmp_path / "l.safetensors", torch.randn(4, 32), torch.randn(32, 4), "unet.down")
    with pytest.raises(InputError, match=r"keys must start with 'transformer\.'"):
        load_loras(transformer, {file: 1.0})


def test_a_file_that_is_no_safetensors(transformer: StageOneTransformer3DModel, tmp_path: Path) -> None:
    (tmp_path / "l.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no LoRA"):
        load_loras(transformer, {tmp_path / "l.safetensors": 1.0})


def test_a_misfit_among_them_leaves_none(transformer: StageOneTransformer3DModel, tmp_path: Path) -> None:
    plain = transformer(*INPUTS).sample
    good = lora_file(tmp_path / "good.safetensors", torch.randn(4, 32), torch.randn(32, 4))
    bad = lora_file(tmp_path / "bad.safetensors", torch.randn(4, 64), torch.randn(32, 4))
    with pytest.raises(InputError, match="bad.safetensors does not fit"):
        load_loras(transformer, {good: 1.0, bad: 1.0})
    torch.testing.assert_close(transformer(*INPUTS).sample, plain)


def test_a_lora_that_fits_in_part_is_not_applied_in_part(
    transformer: StageOneTransformer3DModel, tmp_path: Path
) -> None:
    a, b = torch.randn(4, 32), torch.randn(32, 4)
    other = "transformer.transformer_blocks.9.attn1.to_q"
    tensors = {f"{layer}.lora_{side}.weight": x.clone() for layer in (LAYER, other) for side, x in (("A", a), ("B", b))}
    save_file(tensors, tmp_path / "l.safetensors")
    plain = transformer(*INPUTS).sample
    with pytest.raises(InputError, match="does not fit this transformer: it has no .*blocks.9"):
        load_loras(transformer, {tmp_path / "l.safetensors": 1.0})
    torch.testing.assert_close(transformer(*INPUTS).sample, plain)


@pytest.mark.parametrize("names", [["lora_A"], ["weight"]])
def test_half_a_lora(transformer: StageOneTransformer3DModel, tmp_path: Path, names: list[str]) -> None:
    save_file({f"{LAYER}.{name}.weight": torch.randn(4, 32) for name in names}, tmp_path / "l.safetensors")
    with pytest.raises(InputError, match="come in pairs of lora_A and lora_B"):
        load_loras(transformer, {tmp_path / "l.safetensors": 1.0})
