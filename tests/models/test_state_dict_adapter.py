import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import load_file
from torch import Tensor

from fv_ray.errors import CheckpointError
from fv_ray.models.state_dict_adapter import (
    ReleasedWeights,
    adapt_stage_one_transformer,
    adapt_stage_two_transformer,
    adapt_vae,
)

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
PREFIX = "model.diffusion_model."
LAYER_0 = f"{PREFIX}transformer.layers.0"
ADALN_0 = f"{PREFIX}mixins.adaln_layer.adaLN_modulations.0.1"
RANK = 3


def read_golden(name: str) -> dict[str, Any]:
    path = GOLDEN / "checkpoints" / f"{name}.pt"
    released: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return released


def layer_shapes(hidden: int, head: int, time: int) -> dict[str, tuple[int, ...]]:
    """One released transformer layer, `#` for its number."""
    return {
        "mixins.adaln_layer.adaLN_modulations.#.1": (12 * hidden, time),
        "mixins.adaln_layer.query_layernorm_list.#": (head,),
        "mixins.adaln_layer.key_layernorm_list.#": (head,),
        "transformer.layers.#.input_layernorm": (hidden,),
        "transformer.layers.#.post_attention_layernorm": (hidden,),
        "transformer.layers.#.attention.query_key_value": (3 * hidden, hidden),
        "transformer.layers.#.attention.dense": (hidden, hidden),
        "transformer.layers.#.mlp.dense_h_to_4h": (4 * hidden, hidden),
        "transformer.layers.#.mlp.dense_4h_to_h": (hidden, 4 * hidden),
    }


def make_transformer(*, with_lora: bool, is_stage_two: bool = False) -> dict[str, Tensor]:
    """Released-style weights of sizes that no released file has, float32: hidden 96, 3 heads, 3 layers, text 48."""
    hidden, head, time = 96, 32, 24
    shapes: dict[str, tuple[int, ...]] = {
        "mixins.patch_embed.proj": (hidden, 4, 2, 2),
        "mixins.patch_embed.text_proj": (hidden, 48),
        "mixins.final_layer.adaLN_modulation.1": (2 * hidden, time),
        "mixins.final_layer.norm_final": (hidden,),
        "mixins.final_layer.linear": (6 * 4, hidden),
        "transformer.final_layernorm": (hidden,),
        "time_embed.0": (time, hidden),
        "time_embed.2": (time, time),
    }
    if is_stage_two:
        for name in ("ref_step_time_embedding", "time_size_embedding"):
            shapes |= {f"{name}.0": (time, hidden), f"{name}.2": (time, time)}
    for i in range(3):
        shapes |= {name.replace("#", str(i)): shape for name, shape in layer_shapes(hidden, head, time).items()}
    draw = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, shape in shapes.items():
        num_pairs = 3 if "query_key_value" in layer else int("dense" in layer.split(".") or "modulations" in layer)
        original = ".original" if with_lora and num_pairs else ""
        tensors[f"{PREFIX}{layer}{original}.weight"] = torch.randn(shape, generator=draw)
        tensors[f"{PREFIX}{layer}{original}.bias"] = torch.randn(shape[0], generator=draw)
        for pair in range(num_pairs if original else 0):
            tensors[f"{PREFIX}{layer}.matrix_A.{pair}"] = torch.randn(RANK, shape[1], generator=draw)
            tensors[f"{PREFIX}{layer}.matrix_B.{pair}"] = torch.randn(shape[0] // num_pairs, RANK, generator=draw)
    return tensors


def merged(tensors: dict[str, Tensor], layer: str) -> dict[str, Tensor]:
    """The same weights with one layer's LoRA merged in."""
    num_pairs = sum(name.startswith(f"{layer}.matrix_A.") for name in tensors)
    products = [tensors[f"{layer}.matrix_B.{i}"] @ tensors[f"{layer}.matrix_A.{i}"] for i in range(num_pairs)]
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{layer}.")}
    weight = tensors[f"{layer}.original.weight"] + torch.cat(products) / RANK
    return rest | {f"{layer}.weight": weight, f"{layer}.bias": tensors[f"{layer}.original.bias"]}


def vae_norm(name: str, width: int, latents: int) -> dict[str, tuple[int, ...]]:
    if name.startswith("encoder"):
        return {name: (width,)}
    modulation = (width, latents, 1, 1, 1)
    return {f"{name}.norm_layer": (width,), f"{name}.conv_y.conv": modulation, f"{name}.conv_b.conv": modulation}


def vae_resnet(name: str, num_in: int, num_out: int, latents: int) -> dict[str, tuple[int, ...]]:
    shapes = vae_norm(f"{name}.norm1", num_in, latents) | vae_norm(f"{name}.norm2", num_out, latents)
    shapes[f"{name}.conv1.conv"] = (num_out, num_in, 3, 3, 3)
    shapes[f"{name}.conv2.conv"] = (num_out, num_out, 3, 3, 3)
    return shapes | ({f"{name}.nin_shortcut": (num_out, num_in, 1, 1, 1)} if num_in != num_out else {})


def vae_side(side: str, widths: list[int], num_blocks: int, latents: int) -> dict[str, tuple[int, ...]]:
    """Layers of a released encoder or decoder, by its own construction: `up.0` is the decoder's last level."""
    is_encoder = side == "encoder"
    num_in, num_out, level_name = (3, 2 * latents, "down") if is_encoder else (latents, 3, "up")
    levels = list(enumerate(widths))[:: 1 if is_encoder else -1]
    width = levels[0][1]
    shapes: dict[str, tuple[int, ...]] = {f"{side}.conv_in.conv": (width, num_in, 3, 3, 3)}
    for level, level_width in levels:
        for block in range(num_blocks):
            shapes |= vae_resnet(f"{side}.{level_name}.{level}.block.{block}", width, level_width, latents)
            width = level_width
        if level != levels[-1][0]:
            shapes[f"{side}.{level_name}.{level}.{level_name}sample.conv"] = (width, width, 3, 3)
    for block in (1, 2):
        shapes |= vae_resnet(f"{side}.mid.block_{block}", widths[-1], widths[-1], latents)
    shapes |= vae_norm(f"{side}.norm_out", width, latents)
    return shapes | {f"{side}.conv_out.conv": (num_out, width, 3, 3, 3)}


def test_lora_is_folded_as_the_released_code_does() -> None:
    weights = adapt_stage_one_transformer(read_golden("stage1")).state_dict(torch.float32)
    case = load_file(GOLDEN / "cases" / "stage1_lora_merge.safetensors")
    strict = json.loads((GOLDEN / "cases" / "stage1_lora_merge.json").read_text())["tolerance"]["strict"]
    block = "transformer_blocks.0"
    qkv = torch.cat([weights[f"{block}.attn1.to_{row}.weight"][:16] for row in "qkv"])
    torch.testing.assert_close(qkv, case["qkv_rows"], rtol=0, atol=strict)
    torch.testing.assert_close(weights[f"{block}.attn1.to_out.0.weight"], case["dense_weight"], rtol=0, atol=strict)
    torch.testing.assert_close(weights[f"{block}.norm1.linear.weight"][:64], case["adaln_rows"], rtol=0, atol=strict)


@pytest.mark.parametrize(
    ("adapt", "is_stage_two"), [(adapt_stage_one_transformer, False), (adapt_stage_two_transformer, True)]
)
def test_every_size_comes_from_the_tensors(adapt: Callable[..., ReleasedWeights], is_stage_two: bool) -> None:
    weights = adapt({"module": make_transformer(with_lora=True, is_stage_two=is_stage_two)})
    assert weights.config == {
        "num_attention_heads": 3,
        "attention_head_dim": 32,
        "in_channels": 4,
        "out_channels": 6,
        "time_embed_dim": 24,
        "text_embed_dim": 48,
        "num_layers": 3,
        "patch_size": 2,
        "use_rotary_positional_embeddings": True,
    }
    module = weights.model_class(**weights.config)
    assert module.load_state_dict(weights.state_dict(torch.float32)).missing_keys == []


def test_each_parameter_goes_where_it_belongs() -> None:
    tensors = make_transformer(with_lora=False, is_stage_two=True)
    weights = adapt_stage_two_transformer(tensors).state_dict(torch.float32)
    block = "transformer_blocks.2"
    adaln = tensors[f"{PREFIX}mixins.adaln_layer.adaLN_modulations.2.1.bias"].chunk(12)
    qkv = tensors[f"{PREFIX}transformer.layers.2.attention.query_key_value.weight"].chunk(3)
    expected = {
        f"{block}.norm1.linear.bias": torch.cat([*adaln[0:3], *adaln[6:9]]),
        f"{block}.norm2.linear.bias": torch.cat([*adaln[3:6], *adaln[9:12]]),
        f"{block}.attn1.to_q.weight": qkv[0],
        f"{block}.attn1.to_k.weight": qkv[1],
        f"{block}.attn1.to_v.weight": qkv[2],
        f"{block}.attn1.norm_k.weight": tensors[f"{PREFIX}mixins.adaln_layer.key_layernorm_list.2.weight"],
        f"{block}.ff.net.2.bias": tensors[f"{PREFIX}transformer.layers.2.mlp.dense_4h_to_h.bias"],
        "noise_level_embedding.linear_1.weight": tensors[f"{PREFIX}ref_step_time_embedding.0.weight"],
        "num_frames_embedding.linear_2.bias": tensors[f"{PREFIX}time_size_embedding.2.bias"],
        "norm_final.weight": tensors[f"{PREFIX}transformer.final_layernorm.weight"],
        "norm_out.norm.weight": tensors[f"{PREFIX}mixins.final_layer.norm_final.weight"],
    }
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize(
    "layers",
    [[f"{LAYER_0}.attention.query_key_value"], [ADALN_0, f"{LAYER_0}.attention.dense"]],
    ids=["query_key_value", "adaln and dense"],
)
def test_layers_that_are_already_merged_are_taken_as_they_are(layers: list[str]) -> None:
    tensors = make_transformer(with_lora=True)
    expected = adapt_stage_one_transformer(tensors).state_dict(torch.float32)
    for layer in layers:
        tensors = merged(tensors, layer)
    found = adapt_stage_one_transformer(tensors).state_dict(torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_any_layer_with_an_original_is_folded() -> None:
    tensors = make_transformer(with_lora=False)
    layer = f"{LAYER_0}.mlp.dense_h_to_4h"
    weight, bias = tensors.pop(f"{layer}.weight"), tensors.pop(f"{layer}.bias")
    tensors |= {f"{layer}.original.weight": weight, f"{layer}.original.bias": bias}
    tensors |= {f"{layer}.matrix_A.0": torch.ones(2, 96), f"{layer}.matrix_B.0": torch.ones(384, 2)}
    weights = adapt_stage_one_transformer(tensors).state_dict(torch.float32)
    assert torch.equal(weights["transformer_blocks.0.ff.net.0.proj.weight"], weight + 1)
    assert torch.equal(weights["transformer_blocks.0.ff.net.0.proj.bias"], bias)


def test_wrapper_and_prefix_may_be_missing() -> None:
    tensors = make_transformer(with_lora=True)
    expected = adapt_stage_one_transformer({"module": tensors}).state_dict(torch.float32)
    bare = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    for released in (tensors, bare, {"state_dict": bare}):
        found = adapt_stage_one_transformer(released).state_dict(torch.float32)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_weights_are_folded_before_they_are_rounded() -> None:
    weights = adapt_stage_one_transformer(read_golden("stage1"))
    rounded = {name: tensor.bfloat16() for name, tensor in weights.state_dict(torch.float32).items()}
    found = weights.state_dict(torch.bfloat16)
    assert all(torch.equal(found[name], tensor) for name, tensor in rounded.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_result_shares_no_memory_with_the_file(dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in make_transformer(with_lora=False).items()}
    weights = adapt_stage_one_transformer(tensors).state_dict(dtype)
    assert not {t.untyped_storage().data_ptr() for t in weights.values()} & {
        t.untyped_storage().data_ptr() for t in tensors.values()
    }


def test_tables_that_carry_no_weights_are_ignored() -> None:
    tensors = make_transformer(with_lora=False)
    extra = ("transformer.position_embeddings.weight", "mixins.pos_embed.freqs_sin", "mixins.pos_embed.freqs_cos")
    weights = adapt_stage_one_transformer(tensors | {PREFIX + name: torch.zeros(2) for name in extra})
    assert weights.tensors.keys() == tensors.keys()


def test_the_released_autoencoder_fits_the_stock_one() -> None:
    released = {}
    widths = [128, 256, 256, 512]
    shapes = vae_side("encoder", widths, num_blocks=3, latents=16) | vae_side("decoder", widths, 4, latents=16)
    for layer, shape in shapes.items():
        released[f"{layer}.weight"] = torch.empty(shape, device="meta")
        released[f"{layer}.bias"] = torch.empty(shape[0], device="meta")
    released["loss.discriminator.bn.num_batches_tracked"] = torch.tensor(1)
    weights = adapt_vae({"state_dict": released})
    with torch.device("meta"):
        stock = AutoencoderKLCogVideoX()
    expected = {name: tuple(tensor.shape) for name, tensor in stock.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in weights.state_dict(torch.bfloat16).items()} == expected
    assert {name: stock.config[name] for name in weights.config} == weights.config | {
        name: list(value) for name, value in weights.config.items() if isinstance(stock.config[name], list)
    }
    assert sum(tensor.numel() for tensor in released.values() if tensor.is_meta) == 215_583_907


def test_the_decoders_blocks_are_counted_from_the_other_end() -> None:
    released = read_golden("3d-vae")["state_dict"]
    weights = adapt_vae(released).state_dict(torch.bfloat16)
    for ours, theirs in (
        ("decoder.up_blocks.0.upsamplers.0.conv.weight", "decoder.up.3.upsample.conv.weight"),
        ("decoder.up_blocks.3.resnets.0.conv_shortcut.bias", "decoder.up.0.block.0.nin_shortcut.bias"),
        ("encoder.down_blocks.0.downsamplers.0.conv.bias", "encoder.down.0.downsample.conv.bias"),
        ("decoder.mid_block.resnets.1.norm2.conv_b.conv.bias", "decoder.mid.block_2.norm2.conv_b.conv.bias"),
    ):
        assert torch.equal(weights[ours], released[theirs]), ours


def rename(tensors: dict[str, Tensor], old: str, new: str) -> None:
    tensors[new] = tensors.pop(old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: rename(t, f"{LAYER_0}.mlp.dense_4h_to_h.bias", f"{LAYER_0}.mlp.dense_4h_h.bias"),
            r"lacks \S+dense_4h_to_h.bias \(nearest is \S+dense_4h_h.bias\); give stage1.pt",
        ),
        (lambda t: t.pop(f"{LAYER_0}.attention.query_key_value.matrix_A.1"), r"lacks \S+query_key_value.matrix_A.1 "),
        (lambda t: t.pop(f"{ADALN_0}.original.weight"), r"lacks \S+modulations.0.1.original.weight "),
        (lambda t: t.pop(f"{ADALN_0}.original.bias"), r"lacks \S+modulations.0.1.original.bias "),
        (lambda t: t.pop(f"{PREFIX}time_embed.0.weight"), r"time_embed.0.weight is missing \(nearest is \S+time_embed"),
        (
            lambda t: t.update({f"{LAYER_0}.attention.dense.weights": torch.zeros(1)}),
            r"has no \S+dense.weights \(nearest is \S+dense\S*\)",
        ),
        (
            lambda t: t.update({f"{LAYER_0}.input_layernorm.weight": torch.zeros(95)}),
            r"0.input_layernorm.weight is \(95,\); its other tensors ask for \(96,\)",
        ),
        (
            lambda t: t.update({f"{LAYER_0}.attention.dense.matrix_B.0": torch.zeros(96, 4)}),
            r"dense.matrix_B.0 is \(96, 4\); its other tensors ask for \(96, 3\)",
        ),
        (
            lambda t: t.update({f"{LAYER_0}.attention.dense.matrix_A.0": torch.zeros(0, 96)}),
            r"dense.matrix_A.0 and 1 more is \(0, 96\)",
        ),
        (
            lambda t: t.update({f"{LAYER_0}.attention.dense.matrix_A.0": torch.zeros(())}),
            r"dense.matrix_A.0 and 1 more is \(\)",
        ),
        (
            lambda t: t.update({f"{LAYER_0}.attention.dense.matrix_B.{i}": torch.zeros(19, 3) for i in range(1, 5)}),
            r"has no \S+dense.matrix_B.1 and 3 more",
        ),
        (lambda t: t.update({f"{PREFIX}time_embed.0.weight": torch.zeros(24)}), r"time_embed.0.weight is \(24,\)"),
        (
            lambda t: t.update({f"{PREFIX}mixins.adaln_layer.query_layernorm_list.0.weight": torch.zeros(200)}),
            r"its other tensors ask for \(200",
        ),
        (lambda t: t.update({"iteration": 5}), "iteration is of type int"),
        (
            lambda t: t.update({f"{PREFIX}time_embed.0.bias": torch.zeros(24, dtype=torch.int8)}),
            "bias is of type.*int8",
        ),
    ],
)
def test_a_wrong_tensor_is_named(change: Callable[[dict[str, Tensor]], None], message: str) -> None:
    tensors = make_transformer(with_lora=True)
    change(tensors)
    with pytest.raises(CheckpointError, match=message):
        adapt_stage_one_transformer({"module": tensors})


@pytest.mark.parametrize(
    ("adapt", "name", "message"),
    [
        (
            adapt_stage_one_transformer,
            "stage2",
            "weights of the stage two transformer, not of the stage one.*stage1.pt",
        ),
        (
            adapt_stage_two_transformer,
            "stage1",
            "weights of the stage one transformer, not of the stage two.*stage2.pt",
        ),
        (adapt_stage_one_transformer, "3d-vae", "weights of the autoencoder, not of the stage one"),
        (adapt_vae, "stage1", "weights of the stage one transformer, not of the autoencoder; give 3d-vae.pt here"),
    ],
)
def test_a_file_of_another_part_is_named(adapt: Callable[..., ReleasedWeights], name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        adapt(read_golden(name))


@pytest.mark.parametrize(
    ("released", "message"),
    [({}, "the file holds no tensor"), ({"unet.conv": torch.zeros(1)}, "no FlashVideo weights .unet.conv.; give 3d")],
)
def test_foreign_weights_are_refused(released: dict[str, Tensor], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        adapt_vae(released)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "encoder.down.1.block.0.conv2.conv.weight",
            torch.zeros(48, 48, 3, 3, 3),
            "48 output channels.*multiple of 32",
        ),
        ("decoder.up.2.block.1.conv1.conv.bias", torch.zeros(3), r"up.2.block.1.conv1.conv.bias is \(3,\).*\(64,\)"),
        ("quant_conv.weight", torch.zeros(3), "has no quant_conv.weight"),
    ],
)
def test_a_wrong_tensor_of_the_autoencoder_is_named(name: str, tensor: Tensor, message: str) -> None:
    released = read_golden("3d-vae")["state_dict"] | {name: tensor}
    with pytest.raises(CheckpointError, match=message):
        adapt_vae(released)


def test_an_autoencoder_without_its_encoder_is_refused() -> None:
    released = read_golden("3d-vae")["state_dict"]
    with pytest.raises(CheckpointError, match=r"encoder.down.0.block.0.conv2.conv.weight is missing"):
        adapt_vae({name: tensor for name, tensor in released.items() if not name.startswith("encoder.")})
