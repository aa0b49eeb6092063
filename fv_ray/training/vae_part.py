"""The causal video autoencoder, trained on reconstruction with a little KL.

Trained as a whole clip at once, not chunk by chunk: clips are short, and the group norms' statistics are those of the
first chunk in serving.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor, nn

from fv_ray.models.loading import VAE, load_vae
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.objective import kl_loss, reconstruction_loss
from fv_ray.training.part import build_again
from fv_ray.training.recipe import VAERecipe

MOMENTUM = 0.01
"""Of the running mean square of the latents, which becomes their scaling factor."""


class VAEPart:
    """The autoencoder of a checkpoint."""

    def __init__(self, checkpoint: Path, recipe: VAERecipe, device: torch.device) -> None:
        self._recipe = recipe
        self.module = _Autoencoder(load_vae(checkpoint).requires_grad_(True)).to(device)

    @property
    def blocks(self) -> list[nn.Module]:
        """See `TrainedPart`."""
        vae = self.module.vae
        return [*vae.encoder.down_blocks, vae.encoder.mid_block, vae.decoder.mid_block, *vae.decoder.up_blocks]

    def loss(self, module: nn.Module, batch: Batch, draws: SampleDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TrainedPart`; the posterior is sampled."""
        frames_BCFHW = batch.clips
        channels = self.module.vae.config.latent_channels
        num_latents = 1 + (frames_BCFHW.shape[2] - 1) // 4
        shape = (len(batch), channels, num_latents, frames_BCFHW.shape[3] // 8, frames_BCFHW.shape[4] // 8)
        decoded_BCFHW, moments_BCFHW = module(frames_BCFHW, draws.noise(shape).to(frames_BCFHW.device))
        reconstruction = reconstruction_loss(decoded_BCFHW, frames_BCFHW, self._recipe.gradient_weight)
        squared = nn.functional.mse_loss(decoded_BCFHW.float(), frames_BCFHW)
        kl = kl_loss(moments_BCFHW)
        loss = reconstruction + self._recipe.squared_weight * squared + self._recipe.kl_weight * kl
        return loss, {"reconstruction": reconstruction, "kl": kl, "psnr_db": 10 * torch.log10(4 / squared)}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """See `TrainedPart`; the latents' measured scale goes into the configuration as `scaling_factor`."""
        vae = build_again(self.module.vae, weights, "vae.")
        vae.register_to_config(scaling_factor=float(weights["mean_square"].rsqrt()))
        vae.save_pretrained(folder / VAE)


class _Autoencoder(nn.Module):
    """Frames to frames by way of sampled latents, whose mean square it keeps."""

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        super().__init__()
        self.vae: Any = vae
        self.mean_square: Tensor
        self.register_buffer("mean_square", torch.ones(()))

    def forward(self, frames_BCFHW: Tensor, noise_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
        moments_BCFHW = self.vae.encoder(frames_BCFHW)[0].float()
        mean, logvar = moments_BCFHW.chunk(2, dim=1)
        latents_BCFHW = mean + (logvar.clamp(-30, 20) / 2).exp() * noise_BCFHW
        with torch.no_grad():
            self.mean_square.lerp_(latents_BCFHW.square().mean(), MOMENTUM)
        return self.vae.decoder(latents_BCFHW)[0], moments_BCFHW
