"""What a benchmark runs: both stages with random weights of a named size, or with those of a checkpoint folder.

Random weights are right for time and memory and say nothing of quality. They are never zeros, because a GPU's power,
and with it its clock, depends on the data.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import nn

from fv_ray import presets
from fv_ray.checkpoint import CheckpointInfo, Preset, SizeLimits
from fv_ray.conversion import FPS, STAGE_ONE_SCALING_FACTOR, STAGE_TWO_SCALING_FACTOR
from fv_ray.models.loading import load_stage_one_transformer, load_stage_two_transformer, load_vae
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel
from fv_ray.presets import RELEASED_SIZE, SMALL_SIZE, ClipSize
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo

TINY_SIZE = ClipSize(9, 16, 32, 64, 128)
META = torch.device("meta")
PARTS = ("stage_one", "stage_two", "vae")

_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True)
class Subject:
    """What is benchmarked, without its weights."""

    checkpoint: CheckpointInfo
    stage_one_config: dict[str, Any]
    stage_two_config: dict[str, Any]
    vae_config: dict[str, Any]
    folder: Path | None = None
    """Where the weights are; None makes random ones."""

    @property
    def preset(self) -> Preset:
        """Whose sizes and numbers of evaluations are taken."""
        return self.checkpoint.presets[self.checkpoint.default_preset]


@dataclass(frozen=True)
class Stages:
    """Both stages around one VAE."""

    stage_one: StageOne
    stage_two: StageTwo


def tiny() -> Subject:
    """Under a second on any CPU."""
    width = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2}
    vae = {"block_out_channels": (4, 4, 4, 4), "layers_per_block": 1, "norm_num_groups": 2}
    return random_subject("tiny", TINY_SIZE, width, width, vae, text=(16, 32), time_embed_dim=16)


def small() -> Subject:
    """Seconds on a CPU."""
    width = {"num_attention_heads": 4, "attention_head_dim": 32}
    vae = {"block_out_channels": (16, 32, 32, 64), "layers_per_block": 1, "norm_num_groups": 8}
    one, two = {**width, "num_layers": 6}, {**width, "num_layers": 5}
    return random_subject("small", SMALL_SIZE, one, two, vae, text=(32, 64), time_embed_dim=64)


def released() -> Subject:
    """The released model: 5.57 B and 1.70 B parameters, 256x480 to 1072x1920 pixels."""
    one = {"num_attention_heads": 48, "attention_head_dim": 64, "num_layers": 42}
    two = {"num_attention_heads": 30, "attention_head_dim": 64, "num_layers": 30}
    vae = {"block_out_channels": (128, 256, 256, 512), "layers_per_block": 3}
    return random_subject("released", RELEASED_SIZE, one, two, vae, text=(226, 4096), time_embed_dim=512)


SIZES = {"tiny": tiny, "small": small, "released": released}


def random_subject(
    name: str,
    size: ClipSize,
    stage_one: dict[str, Any],
    stage_two: dict[str, Any],
    vae: dict[str, Any],
    *,
    text: tuple[int, int],
    time_embed_dim: int,
) -> Subject:
    """A model that no folder holds; `text` is the number of prompt tokens and their width."""
    num_tokens, text_width = text
    shared = {"text_embed_dim": text_width, "max_text_seq_length": num_tokens, "time_embed_dim": time_embed_dim}
    checkpoint = CheckpointInfo(
        name=f"random-{name}",
        digest="random",
        fps=FPS,
        max_prompt_tokens=num_tokens,
        stage_one_scaling_factor=STAGE_ONE_SCALING_FACTOR,
        stage_two_scaling_factor=STAGE_TWO_SCALING_FACTOR,
        max_frames=size.num_frames,
        stage_one_limits=SizeLimits(max_height=size.stage_one_height, max_width=size.stage_one_width),
        stage_two_limits=SizeLimits(max_height=size.stage_two_height, max_width=size.stage_two_width),
        default_preset="released",
        presets={"paper": presets.paper(size), "released": presets.released(size)},
    )
    return Subject(checkpoint, stage_one | shared, stage_two | shared, vae)


def folder_subject(folder: str | Path) -> Subject:
    """A checkpoint that `fv-ray convert` wrote."""
    return Subject(
        CheckpointInfo.read(folder),
        StageOneTransformer3DModel.load_config(folder, subfolder="stage_one_transformer"),
        StageTwoTransformer3DModel.load_config(folder, subfolder="stage_two_transformer"),
        AutoencoderKLCogVideoX.load_config(folder, subfolder="vae"),
        Path(folder),
    )


def meta_stages(subject: Subject) -> Stages:
    """Both stages without any memory: for counting."""
    return _stages(
        subject,
        _on_meta(StageOneTransformer3DModel, subject.stage_one_config),
        _on_meta(StageTwoTransformer3DModel, subject.stage_two_config),
        _on_meta(AutoencoderKLCogVideoX, subject.vae_config),
    )


def load_stages(subject: Subject, device: torch.device, dtype: torch.dtype, parts: Collection[str] = PARTS) -> Stages:
    """Both stages on `device`.

    A transformer whose part is not asked for stays on meta and takes no memory.
    """
    torch.manual_seed(0)
    one, two = (device if part in parts else META for part in ("stage_one", "stage_two"))
    vae_dtype = torch.float16 if device.type == "cuda" and dtype == torch.bfloat16 else dtype  # as serving does
    if subject.folder is None:
        return _stages(
            subject,
            _random(_on_meta(StageOneTransformer3DModel, subject.stage_one_config), one, dtype),
            _random(_on_meta(StageTwoTransformer3DModel, subject.stage_two_config), two, dtype),
            _random(_on_meta(AutoencoderKLCogVideoX, subject.vae_config), device, vae_dtype),
        )
    return _stages(
        subject,
        load_stage_one_transformer(subject.folder, device=one, dtype=dtype),
        load_stage_two_transformer(subject.folder, device=two, dtype=dtype),
        load_vae(subject.folder, device=device, dtype=vae_dtype),
    )


def randomise_(module: nn.Module) -> None:
    """Weights that keep activations near one: 1 / sqrt(inputs) in matrices, near 1 in norms, near 0 in biases."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)


def _stages(
    subject: Subject,
    one: StageOneTransformer3DModel,
    two: StageTwoTransformer3DModel,
    vae: AutoencoderKLCogVideoX,
) -> Stages:
    return Stages(
        StageOne(checkpoint=subject.checkpoint, transformer=one, vae=vae, text_encoder=None),
        StageTwo(checkpoint=subject.checkpoint, transformer=two, vae=vae, text_encoder=None),
    )


def _on_meta(model_class: type[_Model], config: dict[str, Any]) -> _Model:
    make: Any = model_class
    with META:
        model: _Model = make.from_config(config)
    return model.eval().requires_grad_(False)


def _random(model: _Model, device: torch.device, dtype: torch.dtype) -> _Model:
    # First the type: 5.57 B parameters never exist in float32. diffusers' own `to` would warn of nothing.
    nn.Module.to(model, dtype).to_empty(device=device)
    if device != META:
        randomise_(model)
    return model
