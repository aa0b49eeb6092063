"""A seed to a checkpoint folder of the released architecture at a small size, from which training starts.

Reads the words of the procedural world and no files; the folder is complete, so everything that runs a converted
checkpoint runs this one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXSpatialNorm3D
from torch import nn
from transformers import T5Config, T5EncoderModel

from fv_ray import presets
from fv_ray.checkpoint import TEXT_ENCODER_FOLDER, CheckpointInfo, SizeLimits
from fv_ray.checkpoint_folder import library_and_class, seal
from fv_ray.errors import InputError
from fv_ray.models.loading import STAGE_ONE_TRANSFORMER, STAGE_TWO_TRANSFORMER, VAE
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel
from fv_ray.presets import SMALL_LIMITS, ClipSize
from fv_ray.storage import new_directory, require_new, storage_errors
from fv_ray.text_encoder import TOKENIZER_FOLDER
from fv_ray.training.procedural.captions import vocabulary
from fv_ray.training.procedural.draws import check_seed
from fv_ray.training.word_tokenizer import make_word_tokenizer

FPS = 8
MAX_PROMPT_TOKENS = 32  # the longest of 50,000 captions has 25 words, and then there is the end
LATENT_CHANNELS = 16
NUM_VAE_BLOCKS = 4
PATCH_SIZE = 2
MODULATION_SHARE = 0.3
"""Of the usual draw, for the weights with which latents scale the decoder's norms."""
INITIAL_LOGVAR = -6.0
"""Of the latents: a standard deviation of 0.05."""
UNMEASURED_SCALING_FACTOR = 1.0
"""Of an autoencoder that is not trained: one over the standard deviation of its latents is measured after that."""


@dataclass(frozen=True)
class Architecture:
    """The sizes that tell a small model from the released one; all else is the same."""

    clip: ClipSize
    text_layers: int
    text_heads: int
    text_head_dim: int
    vae_channels: tuple[int, int, int, int]
    vae_norm_groups: int
    stage_one_layers: int
    stage_one_heads: int
    stage_two_layers: int
    stage_two_heads: int
    head_dim: int
    time_embed_dim: int

    @property
    def text_embed_dim(self) -> int:
        """The attention's inner size is that of an embedding, as in T5's larger models."""
        return self.text_heads * self.text_head_dim


def small() -> Architecture:
    """The default model: under 20 MB in bfloat16, made for a CPU."""
    return Architecture(
        clip=ClipSize(9, 32, 48, 128, 192),
        text_layers=2,
        text_heads=4,
        text_head_dim=16,
        vae_channels=(16, 32, 32, 64),
        vae_norm_groups=8,
        stage_one_layers=8,
        stage_one_heads=6,
        stage_two_layers=6,
        stage_two_heads=4,
        head_dim=32,
        time_embed_dim=64,
    )


def tiny() -> Architecture:
    """As little as is still the whole architecture: for tests that train in seconds."""
    return Architecture(
        clip=ClipSize(9, 16, 32, 32, 64),
        text_layers=1,
        text_heads=2,
        text_head_dim=16,
        vae_channels=(8, 8, 8, 8),
        vae_norm_groups=4,
        stage_one_layers=2,
        stage_one_heads=2,
        stage_two_layers=1,
        stage_two_heads=2,
        head_dim=16,
        time_embed_dim=16,
    )


def new_checkpoint(folder: Path, size: Literal["small", "tiny"], seed: int) -> CheckpointInfo:
    """Write a checkpoint folder of random weights in float32: the same bytes for the same seed.

    Both transformers predict exactly zero, and each of their blocks passes its input on: the modulations (adaptive
    layer norms, Peebles and Xie 2023, arXiv 2212.09748, section 3.2) and the output projection begin at zero. The
    autoencoder's decoder begins near plain group norms, its latents with little noise. All else is as diffusers and
    transformers draw it.

    Args:
        folder: One that does not exist yet or is empty.
        size: The recipe, `small` or `tiny`, and the checkpoint's name.
        seed: Of the weights; the caller's random state is left alone.

    Raises:
        InputError: for another size or a negative seed.
        StorageError: `folder` exists or cannot be written; nothing is left behind.
    """
    if size not in ("small", "tiny"):
        raise InputError(f"size is {size!r}; it must be small or tiny; give one of them")
    check_seed(seed)
    require_new(folder)
    sizes = small() if size == "small" else tiny()
    tokenizer = make_word_tokenizer(vocabulary(), MAX_PROMPT_TOKENS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = _parts(sizes, len(tokenizer))
    with new_directory(folder) as staged, storage_errors(folder):
        for name, part in parts.items():
            part.save_pretrained(staged / name)
        tokenizer.save_pretrained(staged / TOKENIZER_FOLDER)
        components = {name: library_and_class(type(part)) for name, part in parts.items()}
        return seal(staged, _info(sizes, size), components | {TOKENIZER_FOLDER: library_and_class(type(tokenizer))})


def _parts(sizes: Architecture, num_words: int) -> dict[str, Any]:
    one: dict[str, Any] = {"num_layers": sizes.stage_one_layers, "num_attention_heads": sizes.stage_one_heads}
    two: dict[str, Any] = {"num_layers": sizes.stage_two_layers, "num_attention_heads": sizes.stage_two_heads}
    shared: dict[str, Any] = {
        "attention_head_dim": sizes.head_dim,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "time_embed_dim": sizes.time_embed_dim,
        "text_embed_dim": sizes.text_embed_dim,
        "patch_size": PATCH_SIZE,
        "max_text_seq_length": MAX_PROMPT_TOKENS,
    }
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * NUM_VAE_BLOCKS,
        up_block_types=("CogVideoXUpBlock3D",) * NUM_VAE_BLOCKS,
        block_out_channels=sizes.vae_channels,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=sizes.vae_norm_groups,
        scaling_factor=UNMEASURED_SCALING_FACTOR,
    )
    text_encoder = T5Config(
        vocab_size=num_words,
        d_model=sizes.text_embed_dim,
        d_kv=sizes.text_head_dim,
        d_ff=2 * sizes.text_embed_dim,
        num_layers=sizes.text_layers,
        num_heads=sizes.text_heads,
        feed_forward_proj="gated-gelu",  # T5 1.1, the released model's
        pad_token_id=0,
        eos_token_id=1,
    )
    return {
        STAGE_ONE_TRANSFORMER: _begin_at_zero(StageOneTransformer3DModel(**shared, **one)),
        STAGE_TWO_TRANSFORMER: _begin_at_zero(StageTwoTransformer3DModel(**shared, **two)),
        VAE: _begin_unmodulated(vae),
        TEXT_ENCODER_FOLDER: T5EncoderModel(text_encoder),
    }


def _begin_at_zero(transformer: StageOneTransformer3DModel) -> StageOneTransformer3DModel:
    modulations = [norm.linear for block in transformer.transformer_blocks for norm in (block.norm1, block.norm2)]
    for layer in (*modulations, transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


def _begin_unmodulated(vae: AutoencoderKLCogVideoX) -> AutoencoderKLCogVideoX:
    """Let the decoder's norms begin near plain group norms, and the latents with little noise.

    As diffusers draws them, the norms bring all close to nothing and the noise drowns what the encoder says: hundreds
    of steps go by until that is unlearned.
    """
    for norm in vae.decoder.modules():
        if isinstance(norm, CogVideoXSpatialNorm3D):
            norm.conv_y.conv.weight.data.mul_(MODULATION_SHARE)
            nn.init.ones_(norm.conv_y.conv.bias)
            nn.init.zeros_(norm.conv_b.conv.bias)
    nn.init.constant_(vae.encoder.conv_out.conv.bias[LATENT_CHANNELS:], INITIAL_LOGVAR)
    return vae


def _info(sizes: Architecture, name: str) -> CheckpointInfo:
    limits = SMALL_LIMITS
    return CheckpointInfo(
        name=name,
        digest="",
        fps=FPS,
        max_prompt_tokens=MAX_PROMPT_TOKENS,
        stage_one_scaling_factor=UNMEASURED_SCALING_FACTOR,
        stage_two_scaling_factor=UNMEASURED_SCALING_FACTOR,
        max_frames=limits.num_frames,
        stage_one_limits=SizeLimits(max_height=limits.stage_one_height, max_width=limits.stage_one_width),
        stage_two_limits=SizeLimits(max_height=limits.stage_two_height, max_width=limits.stage_two_width),
        default_preset="small",
        presets={"small": presets.small(sizes.clip)},
    )
