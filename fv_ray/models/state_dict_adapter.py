"""Turns released weights into the names, shapes and configurations of our modules: the one place for foreign names.

Every size is read off the tensors, LoRA is folded in, and names and shapes are checked before anything is computed.
Knows no files and devices. Released names: those of FoundationVision/FlashVideo.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count, takewhile
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor, nn

from fv_ray.errors import CheckpointError
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel

_WRAPPERS = ("module", "state_dict")
_PREFIX = "model.diffusion_model."
_IGNORED = re.compile(  # position tables that rotary positions replace, and the autoencoder's discriminator
    rf"({re.escape(_PREFIX)})?(transformer\.position_embeddings\.weight|mixins\.pos_embed\.freqs_(sin|cos))|loss\..*"
)
_NORM_GROUPS = 32  # of the autoencoder, released; its tensors do not tell

_FILES = {"stage one transformer": "stage1.pt", "stage two transformer": "stage2.pt", "autoencoder": "3d-vae.pt"}


class _Source(NamedTuple):
    """The released layer that a layer of ours is made of, and which of its equal chunks of rows."""

    layer: str
    chunks: tuple[int, ...] = (0,)


_QKV = "transformer.layers.#.attention.query_key_value"
# Twelve chunks: shift, scale and gate of the attention, then of the MLP, for video; then the same six for text.
_ADALN = "mixins.adaln_layer.adaLN_modulations.#.1"
_TRANSFORMER = {
    "patch_embed.proj": _Source("mixins.patch_embed.proj"),
    "patch_embed.text_proj": _Source("mixins.patch_embed.text_proj"),
    "time_embedding.linear_1": _Source("time_embed.0"),
    "time_embedding.linear_2": _Source("time_embed.2"),
    "noise_level_embedding.linear_1": _Source("ref_step_time_embedding.0"),
    "noise_level_embedding.linear_2": _Source("ref_step_time_embedding.2"),
    "num_frames_embedding.linear_1": _Source("time_size_embedding.0"),
    "num_frames_embedding.linear_2": _Source("time_size_embedding.2"),
    "transformer_blocks.#.norm1.norm": _Source("transformer.layers.#.input_layernorm"),
    "transformer_blocks.#.norm1.linear": _Source(_ADALN, (0, 1, 2, 6, 7, 8)),
    "transformer_blocks.#.attn1.norm_q": _Source("mixins.adaln_layer.query_layernorm_list.#"),
    "transformer_blocks.#.attn1.norm_k": _Source("mixins.adaln_layer.key_layernorm_list.#"),
    "transformer_blocks.#.attn1.to_q": _Source(_QKV, (0,)),
    "transformer_blocks.#.attn1.to_k": _Source(_QKV, (1,)),
    "transformer_blocks.#.attn1.to_v": _Source(_QKV, (2,)),
    "transformer_blocks.#.attn1.to_out.0": _Source("transformer.layers.#.attention.dense"),
    "transformer_blocks.#.norm2.norm": _Source("transformer.layers.#.post_attention_layernorm"),
    "transformer_blocks.#.norm2.linear": _Source(_ADALN, (3, 4, 5, 9, 10, 11)),
    "transformer_blocks.#.ff.net.0.proj": _Source("transformer.layers.#.mlp.dense_h_to_4h"),
    "transformer_blocks.#.ff.net.2": _Source("transformer.layers.#.mlp.dense_4h_to_h"),
    "norm_final": _Source("transformer.final_layernorm"),
    "norm_out.linear": _Source("mixins.final_layer.adaLN_modulation.1"),
    "norm_out.norm": _Source("mixins.final_layer.norm_final"),
    "proj_out": _Source("mixins.final_layer.linear"),
}
_VAE = {"down_blocks": "down", "up_blocks": "up", "downsamplers.0": "downsample", "upsamplers.0": "upsample"}
_VAE |= {"resnets": "block", "conv_shortcut": "nin_shortcut"}

_Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ReleasedWeights:
    """A released file whose names and shapes are those of `model_class(**config)`; nothing is converted yet."""

    model_class: type[nn.Module]
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    """By released name, as they were loaded."""
    parameters: Mapping[str, Mapping[str, tuple[int, ...]]]
    """Released parameter (as if LoRA were folded) -> our parameters -> which chunks of its rows each is made of."""

    def state_dict(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Convert, one parameter after the other; the result shares no memory with the released tensors.

        LoRA is folded in float32 and rounded once, to `dtype`.
        """
        converted = {}
        for released, targets in self.parameters.items():
            chunks = _folded(self.tensors, released).chunk(sum(map(len, targets.values())))
            for name, indices in targets.items():
                converted[name] = torch.cat([chunks[i] for i in indices]).to(dtype)
        return converted


def adapt_stage_one_transformer(released: Mapping[str, Any]) -> ReleasedWeights:
    """Understand stage1.pt as it was loaded, with LoRA beside the weights or already merged, layer by layer.

    Raises:
        CheckpointError: naming the tensor that is missing, unknown or of the wrong shape.
    """
    return _adapt_transformer("stage one transformer", StageOneTransformer3DModel, released)


def adapt_stage_two_transformer(released: Mapping[str, Any]) -> ReleasedWeights:
    """Understand stage2.pt as it was loaded; errors as of `adapt_stage_one_transformer`."""
    return _adapt_transformer("stage two transformer", StageTwoTransformer3DModel, released)


def adapt_vae(released: Mapping[str, Any]) -> ReleasedWeights:
    """Understand 3d-vae.pt as it was loaded; errors as of `adapt_stage_one_transformer`."""
    tensors = _tensors("autoencoder", released)
    config = _vae_config(tensors)
    num_blocks = len(config["block_out_channels"])
    return _adapt("autoencoder", AutoencoderKLCogVideoX, config, tensors, lambda name: _vae_source(name, num_blocks))


def _adapt_transformer(part: str, model_class: type[nn.Module], released: Mapping[str, Any]) -> ReleasedWeights:
    tensors = _tensors(part, released)
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in tensors) else ""
    config = _transformer_config(tensors, prefix)
    return _adapt(part, model_class, config, tensors, lambda name: _transformer_source(name, prefix))


def _transformer_source(layer: str, prefix: str) -> _Source:
    index = re.search(r"(?<=^transformer_blocks\.)\d+", layer)
    source = _TRANSFORMER[layer.replace(index[0], "#", 1) if index else layer]
    return _Source(prefix + source.layer.replace("#", index[0] if index else "#"), source.chunks)


def _vae_source(layer: str, num_blocks: int) -> _Source:
    layer = re.sub(r"(?<=up_blocks\.)\d+", lambda index: str(num_blocks - 1 - int(index[0])), layer)
    layer = re.sub(r"mid_block\.resnets\.(\d+)", lambda match: f"mid.block_{int(match[1]) + 1}", layer)
    for ours, released in _VAE.items():
        layer = layer.replace(ours, released)
    return _Source(layer)


def _transformer_config(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    hidden_size, in_channels, patch_size, _ = _shape(tensors, f"{prefix}mixins.patch_embed.proj.weight", 4)
    (head_dim,) = _shape(tensors, f"{prefix}mixins.adaln_layer.query_layernorm_list.0.weight", 1)
    return {
        "num_attention_heads": max(1, hidden_size // head_dim),
        "attention_head_dim": head_dim,
        "in_channels": in_channels,
        "out_channels": _shape(tensors, f"{prefix}mixins.final_layer.linear.weight", 2)[0] // patch_size**2,
        "time_embed_dim": _shape(tensors, f"{prefix}time_embed.0.weight", 2)[0],
        "text_embed_dim": _shape(tensors, f"{prefix}mixins.patch_embed.text_proj.weight", 2)[1],
        "num_layers": _count(rf"{re.escape(prefix)}transformer\.layers\.(\d+)\.", tensors),
        "patch_size": patch_size,
        "use_rotary_positional_embeddings": True,
    }


def _vae_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    num_blocks = max(1, _count(r"encoder\.down\.(\d+)\.", tensors))
    names = [f"encoder.down.{i}.block.0.conv2.conv.weight" for i in range(num_blocks)]
    channels = tuple(_shape(tensors, name, 5)[0] for name in names)
    for name, width in zip(names, channels, strict=True):
        if width % _NORM_GROUPS:
            raise CheckpointError(
                f"{name} has {width} output channels; they must be a multiple of {_NORM_GROUPS}; give 3d-vae.pt"
            )
    return {
        "in_channels": _shape(tensors, "encoder.conv_in.conv.weight", 5)[1],
        "out_channels": _shape(tensors, "decoder.conv_out.conv.weight", 5)[0],
        "down_block_types": ("CogVideoXDownBlock3D",) * num_blocks,
        "up_block_types": ("CogVideoXUpBlock3D",) * num_blocks,
        "block_out_channels": channels,
        "latent_channels": _shape(tensors, "decoder.conv_in.conv.weight", 5)[1],
        "layers_per_block": _count(r"encoder\.down\.0\.block\.(\d+)\.", tensors),
        "norm_num_groups": _NORM_GROUPS,
    }


def _adapt(
    part: str,
    model_class: type[nn.Module],
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    source_of: Callable[[str], _Source],
) -> ReleasedWeights:
    """Line up `tensors` with the module's parameters; `source_of` tells where a layer of ours lies."""
    with torch.device("meta"):
        shapes = {name: tuple(meta.shape) for name, meta in model_class(**config).state_dict().items()}
    parameters: dict[str, dict[str, tuple[int, ...]]] = {}
    for name in shapes:
        layer, _, kind = name.rpartition(".")
        source = source_of(layer)
        parameters.setdefault(f"{source.layer}.{kind}", {})[name] = source.chunks
    expected: dict[str, _Shape] = {}
    for released, targets in parameters.items():
        target_shapes = [shapes[name] for name in targets]
        whole = (sum(shape[0] for shape in target_shapes), *target_shapes[0][1:])
        expected |= _stored_shapes(tensors, released, whole)
    _check(part, tensors, expected)
    return ReleasedWeights(model_class, config, tensors, parameters)


def _stored_shapes(tensors: Mapping[str, Tensor], parameter: str, shape: _Shape) -> dict[str, _Shape]:
    """What a file holds for one parameter: itself, or an original with low-rank matrices beside it."""
    stored = _stored_name(tensors, parameter)
    shapes = {stored: shape}
    if stored.endswith(".original.weight") and len(shape) == 2:
        layer = parameter.removesuffix(".weight")
        first_A = tensors.get(f"{layer}.matrix_A.0")
        rank = 1 if first_A is None else max([1, *first_A.shape[:1]])
        has_pair = (any(f"{layer}.matrix_{side}.{i}" in tensors for side in "AB") for i in count(1))
        num_pairs = 1 + sum(takewhile(bool, has_pair))
        num_pairs = 1 if shape[0] % num_pairs else num_pairs
        for i in range(num_pairs):
            shapes[f"{layer}.matrix_A.{i}"] = (rank, shape[1])
            shapes[f"{layer}.matrix_B.{i}"] = (shape[0] // num_pairs, rank)
    return shapes


def _stored_name(tensors: Mapping[str, Tensor], parameter: str) -> str:
    layer, _, kind = parameter.rpartition(".")
    has_lora = any(f"{layer}.{name}" in tensors for name in ("original.weight", "matrix_A.0", "matrix_B.0"))
    return f"{layer}.original.{kind}" if has_lora else parameter


def _folded(tensors: Mapping[str, Tensor], parameter: str) -> Tensor:
    """W + cat_i(B_i A_i) / rank, in float32, where there is LoRA (alpha 1 in the released code); else the parameter."""
    stored = tensors[_stored_name(tensors, parameter)]
    layer = parameter.removesuffix(".weight")
    products: list[Tensor] = []
    while (name_A := f"{layer}.matrix_A.{len(products)}") in tensors:
        rank = len(tensors[name_A])
        products.append(tensors[f"{layer}.matrix_B.{len(products)}"].float() @ tensors[name_A].float())
    return torch.cat(products).div_(rank).add_(stored) if products else stored


def _tensors(part: str, released: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a released file that carry weights, by their names in it."""
    inner = next((released[key] for key in _WRAPPERS if isinstance(released.get(key), Mapping)), released)
    tensors = {str(name): tensor for name, tensor in inner.items() if not _IGNORED.fullmatch(str(name))}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise CheckpointError(f"{name} is of type {kind}, not a tensor of floats; give {_FILES[part]}")
    found = _recognize(tensors)
    if found != part:
        foreign = f"no FlashVideo weights ({_some([*tensors]) if tensors else 'the file holds no tensor'})"
        told = f"the weights of the {found}, not of the {part}" if found else foreign
        raise CheckpointError(f"these are {told}; give {_FILES[part]} here")
    return tensors


def _recognize(names: Iterable[str]) -> str | None:
    heads = {name.removeprefix(_PREFIX).partition(".")[0] for name in names}
    if heads & {"ref_step_time_embedding", "time_size_embedding"}:
        return "stage two transformer"
    if heads & {"transformer", "mixins", "time_embed"}:
        return "stage one transformer"
    return "autoencoder" if heads & {"encoder", "decoder"} else None


def _check(part: str, tensors: Mapping[str, Tensor], expected: Mapping[str, _Shape]) -> None:
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    advice = f"give {_FILES[part]} as it was released"
    if missing:
        near = _nearest(missing[0], unknown) or _nearest(missing[0], tensors)
        raise CheckpointError(f"the {part} lacks {_some(missing)}{near}; {advice}")
    if unknown:
        near = _nearest(unknown[0], expected)
        raise CheckpointError(f"the {part} has no {_some(unknown)}{near}; {advice}, or --ignore it")
    misshapen = [name for name, shape in expected.items() if tuple(tensors[name].shape) != shape]
    if misshapen:
        name = misshapen[0]
        raise CheckpointError(
            f"the {part}'s {_some(misshapen)} is {tuple(tensors[name].shape)}; its other tensors ask for "
            f"{expected[name]}; {advice}"
        )


def _shape(tensors: Mapping[str, Tensor], parameter: str, num_dims: int) -> _Shape:
    name = _stored_name(tensors, parameter)
    if name not in tensors:
        raise CheckpointError(f"{name} is missing{_nearest(name, tensors)}; give the file as it was released")
    shape = tuple(tensors[name].shape)
    if len(shape) != num_dims or 0 in shape:
        raise CheckpointError(
            f"{name} is {shape}; it must have {num_dims} dimensions; give the file as it was released"
        )
    return shape


def _count(pattern: str, names: Iterable[str]) -> int:
    return len({match[1] for name in names if (match := re.match(pattern, name))})


def _nearest(name: str, names: Iterable[str]) -> str:
    return "".join(f" (nearest is {match})" for match in get_close_matches(name, names, n=1))


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
