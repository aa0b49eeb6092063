"""Stage one's transformer, with the text encoder where that is new too: v-prediction (paper section 3.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import CogVideoXLoraLoaderMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from fv_ray.checkpoint import TEXT_ENCODER_FOLDER, CheckpointInfo
from fv_ray.errors import CheckpointError
from fv_ray.models.loading import STAGE_ONE_TRANSFORMER, load_stage_one_transformer
from fv_ray.models.transformer import StageOneTransformer3DModel
from fv_ray.text_encoder import TextEncoder, encode_prompts, load_text_encoder
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.latents import clean_latents
from fv_ray.training.objective import prediction_loss, stage_one_prediction
from fv_ray.training.part import build_again
from fv_ray.training.recipe import StageOneRecipe

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
"""[released] The attention's projections."""
LORA_FOLDER = "stage_one_lora"
LORA_FILE = "pytorch_lora_weights.safetensors"


class StageOnePart:
    """Stage one of a checkpoint."""

    def __init__(self, checkpoint: Path, recipe: StageOneRecipe, device: torch.device) -> None:
        self._recipe = recipe
        self._checkpoint = checkpoint
        info = CheckpointInfo.read(checkpoint)
        self._scaling_factor = info.stage_one_scaling_factor
        self._text_encoder = load_text_encoder(checkpoint, info.max_prompt_tokens, device=device, dtype=torch.float32)
        transformer = load_stage_one_transformer(checkpoint)
        if recipe.lora_rank:
            add_lora(transformer, recipe.lora_rank)
        else:
            transformer.requires_grad_(True)
        transformer.train()
        self.module = _Predictor(transformer, self._trained_text_encoder()).to(device)

    @property
    def blocks(self) -> list[nn.Module]:
        """See `TrainedPart`."""
        return list(self.module.transformer.transformer_blocks)

    def loss(self, module: nn.Module, batch: Batch, draws: SampleDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TrainedPart`."""
        latents_BFCHW = clean_latents(batch, self._checkpoint, draws) * self._scaling_factor
        device = latents_BFCHW.device
        noise_BFCHW = draws.noise(latents_BFCHW.shape).to(device)
        prediction = stage_one_prediction(latents_BFCHW, noise_BFCHW, draws.timesteps().to(device))
        kept = draws.kept(self._recipe.text_dropout).to(device)
        predicted = module(prediction.noisy_BFCHW, prediction.timesteps_B, self._text(batch, device), kept)
        return prediction_loss(predicted, prediction.target_BFCHW), {}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """See `TrainedPart`; LoRA layers as one file in a folder of their own."""
        if self._recipe.lora_rank:
            layers = get_peft_model_state_dict(
                self.module.transformer, {name.removeprefix("transformer."): each for name, each in weights.items()}
            )
            CogVideoXLoraLoaderMixin.save_lora_weights(folder / LORA_FOLDER, layers, weight_name=LORA_FILE)
            return
        build_again(self.module.transformer, weights, "transformer.").save_pretrained(folder / STAGE_ONE_TRANSFORMER)
        if self.module.text_encoder is not None:
            encoder = self.module.text_encoder
            own = {name.removeprefix("text_encoder."): each for name, each in weights.items()}
            # T5 has its embeddings under two names; named_parameters gives one of them.
            once = {name: own[name] for name, _ in encoder.named_parameters()}
            encoder.save_pretrained(folder / TEXT_ENCODER_FOLDER, state_dict=once)

    def _trained_text_encoder(self) -> nn.Module | None:
        if not self._recipe.trains_text_encoder:
            return None
        if self._text_encoder is None:
            raise CheckpointError(f"{self._checkpoint} has no text encoder to train; set trains_text_encoder to false")
        return self._text_encoder.model.requires_grad_(True)

    def _text(self, batch: Batch, device: torch.device) -> Tensor:
        """Token ids where the text encoder is trained, else embeddings."""
        if self.module.text_encoder is not None and self._text_encoder is not None:
            return self._text_encoder.tokens(batch.captions).to(device)
        return text_embeddings(batch, self._text_encoder).to(device)


def add_lora(transformer: StageOneTransformer3DModel, rank: int) -> None:
    """Put new LoRA layers beside the attention's projections; only they are trained."""
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))


def text_embeddings(batch: Batch, text_encoder: TextEncoder | None) -> Tensor:
    """Those of the data set, else made of its captions."""
    stored: Tensor | None = batch.tensors.get("prompt_embeds")
    return encode_prompts(text_encoder, batch.captions) if stored is None else stored


class _Predictor(nn.Module):
    """Noisy latents and text to v."""

    def __init__(self, transformer: nn.Module, text_encoder: nn.Module | None) -> None:
        super().__init__()
        self.transformer: Any = transformer
        self.text_encoder: Any = text_encoder

    def forward(self, noisy_BFCHW: Tensor, timesteps_B: Tensor, text: Tensor, kept_B: Tensor) -> Tensor:
        embeds_BLD = text if self.text_encoder is None else self.text_encoder(text).last_hidden_state
        embeds_BLD = embeds_BLD * kept_B.view(-1, 1, 1).to(embeds_BLD)  # the unconditional embedding is all zeros
        return self.transformer(noisy_BFCHW, embeds_BLD.to(noisy_BFCHW), timesteps_B, return_dict=False)[0]
