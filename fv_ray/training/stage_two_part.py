"""Stage two's transformer: flow matching from degraded latents to clean ones (paper section 3.3, algorithm 1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.degradations.latent import NoiseLevels
from fv_ray.models.loading import STAGE_TWO_TRANSFORMER, load_stage_two_transformer
from fv_ray.text_encoder import load_text_encoder
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.latents import clean_latents, degraded_latents
from fv_ray.training.objective import prediction_loss, stage_two_prediction
from fv_ray.training.part import build_again
from fv_ray.training.recipe import StageTwoRecipe
from fv_ray.training.stage_one_part import text_embeddings

PURE_NOISE = 999
"""The noise level that leaves nothing of the latents."""


class StageTwoPart:
    """Stage two of a checkpoint."""

    def __init__(self, checkpoint: Path, recipe: StageTwoRecipe, device: torch.device) -> None:
        self._recipe = recipe
        self._checkpoint = checkpoint
        info = CheckpointInfo.read(checkpoint)
        self._scaling_factor = info.stage_two_scaling_factor
        self._text_encoder = load_text_encoder(checkpoint, info.max_prompt_tokens, device=device, dtype=torch.float32)
        transformer = load_stage_two_transformer(checkpoint).requires_grad_(True).train()
        self.module = _Predictor(transformer).to(device)

    @property
    def blocks(self) -> list[nn.Module]:
        """See `TrainedPart`."""
        return list(self.module.transformer.transformer_blocks)

    def loss(self, module: nn.Module, batch: Batch, draws: SampleDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TrainedPart`."""
        recipe = self._recipe
        clean = clean_latents(batch, self._checkpoint, draws) * self._scaling_factor
        degraded = clean
        if recipe.pixel_degradation and not recipe.starts_from_noise:
            degraded = degraded_latents(batch, self._checkpoint, draws) * self._scaling_factor
        noise = draws.noise(clean.shape).to(clean)
        levels = self._levels(batch, draws).to(clean.device)
        times = draws.times(recipe.shift).to(clean.device)
        prediction = stage_two_prediction(degraded, clean, noise, levels, times)
        kept = draws.kept(recipe.text_dropout).to(clean.device)
        text = text_embeddings(batch, self._text_encoder).to(clean)
        predicted = module(prediction.noisy_BFCHW, prediction.timesteps_B, levels, text, kept)
        return prediction_loss(predicted, prediction.target_BFCHW), {}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """See `TrainedPart`."""
        build_again(self.module.transformer, weights, "transformer.").save_pretrained(folder / STAGE_TWO_TRANSFORMER)

    def _levels(self, batch: Batch, draws: SampleDraws) -> Tensor:
        if self._recipe.starts_from_noise:
            return torch.full((len(batch),), PURE_NOISE)
        return draws.noise_levels(NoiseLevels(*self._recipe.noise_levels_at(batch.step)))


class _Predictor(nn.Module):
    """Latents on the way and text to the velocity."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer: Any = transformer

    def forward(
        self, noisy_BFCHW: Tensor, timesteps_B: Tensor, levels_B: Tensor, text: Tensor, kept_B: Tensor
    ) -> Tensor:
        embeds_BLD = text * kept_B.view(-1, 1, 1).to(text)
        return self.transformer(
            noisy_BFCHW, embeds_BLD.to(noisy_BFCHW), timesteps_B, levels_B.float(), return_dict=False
        )[0]
