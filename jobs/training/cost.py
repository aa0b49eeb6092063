"""What a training run will cost, told before it starts: counted operations, and memory from counted bytes.

Everything is counted on shapes, on the device where nothing is computed: one sample forward and backward, with every
tensor that is kept for the way back. Operations are those of matrix products, attention and convolutions; a
multiplication and an addition are two. The frozen autoencoder and text encoder are left out, as in the paper: encode
the clips once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fv_ray.checkpoint import FRAMES_PER_LATENT
from fv_ray.models.loading import STAGE_ONE_TRANSFORMER, STAGE_TWO_TRANSFORMER, VAE
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel
from fv_ray.training.recipe import AnyRecipe, StageOneRecipe, VAERecipe, View

GPU_FLOPS_PER_S = 300e12
"""What a data-centre GPU reaches in training in 16 bits, of a peak near 1,000e12: assumed, not measured here."""
CPU_FLOPS_PER_S = 5e10
"""Of one thread that trains small convolutions in bfloat16: a round figure, of the order that was seen."""
BYTES = 4
"""Of a weight, its gradient, each of its two moments and its average."""
COMPRESSION = 8
"""Pixels a latent's side."""
META = torch.device("meta")


@dataclass(frozen=True)
class SampleCost:
    """Of one sample of a view."""

    flops: int
    """Forward and backward, and forward once more where it is recomputed."""
    kept_bytes: int
    """For the way back, at its height."""


@dataclass(frozen=True)
class RunCost:
    """Of a whole run."""

    flops: float
    state_bytes: int
    """Of one worker: weights, gradients, moments and average, or its share of them."""
    kept_bytes: int
    """Of one worker: the largest piece of a step."""

    def tell(self, num_workers: int, *, use_gpu: bool) -> str:
        """In one line for people."""
        rate = GPU_FLOPS_PER_S if use_gpu else CPU_FLOPS_PER_S
        unit = "GPU" if use_gpu else "CPU"
        hours = self.flops / rate / 3600
        return (
            f"{self.flops / 1e15:,.2f} PFLOP: about {hours:,.1f} {unit}-hours at {rate / 1e12:g} TFLOP/s, "
            f"{hours / num_workers:,.1f} h on {num_workers}; memory of a worker about "
            f"{(self.state_bytes + self.kept_bytes) / 1e9:,.1f} GB ({self.state_bytes / 1e9:,.1f} of weights and "
            f"optimiser, {self.kept_bytes / 1e9:,.1f} kept for the way back)"
        )


def run_cost(recipe: AnyRecipe, checkpoint: Path, num_workers: int) -> RunCost:
    """What a recipe costs from a checkpoint's sizes on so many workers."""
    model = _model(recipe, checkpoint)
    total_weight = sum(view.weight for view in recipe.views)
    flops, kept = 0.0, 0
    for view in recipe.views:
        sample = sample_cost(recipe, view, model)
        flops += sample.flops * view.batch_size * recipe.num_steps * view.weight / total_weight
        share = view.batch_size // num_workers
        kept = max(kept, sample.kept_bytes * -(-share // min(recipe.accumulation_steps, share)))
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    frozen = sum(each.numel() for each in model.parameters() if not each.requires_grad)
    copies = 5 if recipe.ema_decay else 4
    shards = num_workers if recipe.strategy == "fsdp" else 1
    return RunCost(flops, (copies * trained + frozen) * BYTES // shards, kept)


def sample_cost(recipe: AnyRecipe, view: View, model: nn.Module) -> SampleCost:
    """Count one sample through a model on meta."""
    forward = _forward(recipe, view, model)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    parameters = {each.untyped_storage()._cdata for each in model.parameters()}
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = forward()
        once = counter.get_total_flops()
        torch.autograd.backward(output.sum())
        flops = counter.get_total_flops()
    num_bytes = sum(size for storage, size in kept.items() if storage not in parameters)
    if recipe.precision == "bfloat16":
        num_bytes //= 2
    if recipe.gradient_checkpointing:
        num_blocks = len(getattr(model, "transformer_blocks", ())) or 1
        flops += once
        # Of each block its input, and of one all that is in it.
        num_bytes = num_bytes // num_blocks + num_blocks * _hidden_bytes(recipe, view, model)
    return SampleCost(int(flops), int(num_bytes))


def _model(recipe: AnyRecipe, checkpoint: Path) -> Any:  # noqa: ANN401
    """The part's layers, without weights; frozen where LoRA is trained beside them."""
    classes: dict[str, tuple[Any, str]] = {
        "vae": (AutoencoderKLCogVideoX, VAE),
        "stage_one": (StageOneTransformer3DModel, STAGE_ONE_TRANSFORMER),
        "stage_two": (StageTwoTransformer3DModel, STAGE_TWO_TRANSFORMER),
    }
    model_class, part = classes[recipe.part]
    with META:
        model = model_class.from_config(model_class.load_config(checkpoint / part))
        if isinstance(recipe, StageOneRecipe) and recipe.lora_rank:
            from fv_ray.training.stage_one_part import add_lora

            add_lora(model.requires_grad_(False), recipe.lora_rank)
    return model


def _forward(recipe: AnyRecipe, view: View, model: Any) -> Callable[[], Tensor]:  # noqa: ANN401
    height, width = view.shown_size
    if isinstance(recipe, VAERecipe):
        frames = torch.empty((1, 3, view.num_frames, height, width), device=META)
        return lambda: model.decoder(model.encoder(frames)[0].chunk(2, dim=1)[0])[0]
    config = model.config
    num_latents = 1 + (view.num_frames - 1) // FRAMES_PER_LATENT
    shape = (1, num_latents, config.in_channels, height // COMPRESSION, width // COMPRESSION)
    latents = torch.empty(shape, device=META)
    text = torch.empty((1, config.max_text_seq_length, config.text_embed_dim), device=META)
    index = torch.empty((1,), device=META)
    more = (index,) if recipe.part == "stage_two" else ()
    return lambda: model(latents, text, index, *more, return_dict=False)[0]


def _hidden_bytes(recipe: AnyRecipe, view: View, model: Any) -> int:  # noqa: ANN401
    """Of what flows from block to block."""
    height, width = view.shown_size
    num_latents = 1 + (view.num_frames - 1) // FRAMES_PER_LATENT
    config = model.config
    patch = COMPRESSION * config.patch_size
    num_tokens = num_latents * (height // patch) * (width // patch) + config.max_text_seq_length
    return (
        num_tokens
        * config.num_attention_heads
        * config.attention_head_dim
        * (2 if recipe.precision == "bfloat16" else 4)
    )
