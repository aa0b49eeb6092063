"""Both stages as plain diffusers calls, as its own CogVideoX pipelines make them: stock transformers and a stock VAE.

The samplers and the latent degradation are fv-ray's, diffusers having none that fit; guidance pairs are one batch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor, nn

from benchmarks.random_stages import Stages
from fv_ray.degradations.latent import degrade_latents
from fv_ray.guidance import dynamic_guidance_scales
from fv_ray.models.transformer import NORM_OUT_EPS, StageOneTransformer3DModel
from fv_ray.noise import SeededNoise
from fv_ray.schedulers import ZeroSNRDPMSolverScheduler, flow_euler_scheduler
from fv_ray.types import StageOneSampling, StageTwoSampling

STAGE_TWO_EMBEDDINGS = ("noise_level_embedding", "num_frames_embedding")


class PlainDiffusers:
    """Holds stock modules with the weights of `stages`, whose stage-two embeddings it makes zero.

    They are what stock diffusers has no place for; without them both sides compute the same.
    """

    def __init__(self, stages: Stages) -> None:
        for name in STAGE_TWO_EMBEDDINGS:
            last = getattr(stages.stage_two.transformer, name).linear_2
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.checkpoint = stages.stage_one.checkpoint
        self.stage_one_transformer = _stock_transformer(stages.stage_one.transformer)
        self.stage_two_transformer = _stock_transformer(stages.stage_two.transformer)
        self.vae: AutoencoderKLCogVideoX = stages.stage_one.vae
        self.vae.num_sample_frames_batch_size = 16  # the released chunks; diffusers' default gives other latents

    @torch.no_grad()
    def denoise(
        self, prompt_embeds_BLD: Tensor, latents_BFCHW: Tensor, noise: SeededNoise, sampling: StageOneSampling
    ) -> Tensor:
        """Stage one: from noise to scaled latents."""
        transformer, num_steps = self.stage_one_transformer, sampling.num_inference_steps
        scheduler = ZeroSNRDPMSolverScheduler()
        scheduler.set_timesteps(num_steps)
        scales = dynamic_guidance_scales(scheduler.timesteps, num_steps, sampling.guidance_scale).tolist()
        draws = [noise(latents_BFCHW.shape) for _ in range(num_steps - 1)]
        embeds_BLD = torch.cat([torch.zeros_like(prompt_embeds_BLD), prompt_embeds_BLD])
        positions = _rotary_positions(transformer, latents_BFCHW)
        for timestep, scale, draw in zip(scheduler.timesteps, scales, [*draws, None], strict=True):
            v_BFCHW = _guided(transformer, latents_BFCHW, embeds_BLD, timestep, positions, scale)
            latents_BFCHW = scheduler.step(v_BFCHW, timestep, latents_BFCHW, noise=draw, return_dict=False)[0]
        return latents_BFCHW

    @torch.no_grad()
    def decode(self, latents_BFCHW: Tensor, scaling_factor: float) -> Tensor:
        """Scaled latents to frames."""
        latents_BCFHW = latents_BFCHW.permute(0, 2, 1, 3, 4)
        frames_BCFHW: Tensor = self.vae.decode(1 / scaling_factor * latents_BCFHW).sample
        return frames_BCFHW

    def resize(self, frames_BCFHW: Tensor, height: int, width: int) -> Tensor:
        """A preview's frames at the video's size."""
        frames_BFCHW = frames_BCFHW.clamp(-1, 1).transpose(1, 2)
        resized = F.interpolate(frames_BFCHW.flatten(0, 1), size=(height, width), mode="bilinear", antialias=True)
        return torch.unflatten(resized, 0, frames_BFCHW.shape[:2]).transpose(1, 2)

    @torch.no_grad()
    def encode(self, frames_BCFHW: Tensor, generator: torch.Generator) -> Tensor:
        """Frames to scaled latents."""
        latents_BCFHW: Tensor = self.vae.encode(frames_BCFHW).latent_dist.sample(generator)
        return latents_BCFHW.permute(0, 2, 1, 3, 4) * self.checkpoint.stage_two_scaling_factor

    @torch.no_grad()
    def refine(
        self, latents_BFCHW: Tensor, prompt_embeds_BLD: Tensor, noise: SeededNoise, sampling: StageTwoSampling
    ) -> Tensor:
        """Stage two: from the upsampled preview's scaled latents to the video's."""
        transformer = self.stage_two_transformer
        scheduler = flow_euler_scheduler(sampling.num_inference_steps, sampling.shift)
        levels = torch.full((len(latents_BFCHW),), sampling.noise_level)
        latents_BFCHW = degrade_latents(latents_BFCHW, noise(latents_BFCHW.shape), levels)
        embeds_BLD = torch.cat([torch.zeros_like(prompt_embeds_BLD), prompt_embeds_BLD])
        positions = _rotary_positions(transformer, latents_BFCHW)
        for timestep in scheduler.timesteps:
            velocity_BFCHW = _guided(
                transformer, latents_BFCHW, embeds_BLD, timestep, positions, sampling.guidance_scale
            )
            latents_BFCHW = scheduler.step(-velocity_BFCHW, timestep, latents_BFCHW, return_dict=False)[0]
        return latents_BFCHW


def _guided(
    transformer: CogVideoXTransformer3DModel,
    latents_BFCHW: Tensor,
    embeds_BLD: Tensor,
    timestep: Tensor,
    positions: tuple[Tensor, Tensor],
    scale: float,
) -> Tensor:
    prediction = transformer(
        hidden_states=torch.cat([latents_BFCHW] * 2),
        encoder_hidden_states=embeds_BLD,
        timestep=timestep.expand(len(embeds_BLD)),
        image_rotary_emb=positions,
        return_dict=False,
    )[0].float()
    unconditional, conditional = prediction.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def _rotary_positions(transformer: CogVideoXTransformer3DModel, latents_BFCHW: Tensor) -> tuple[Tensor, Tensor]:
    patch_size = transformer.config.patch_size
    grid = (latents_BFCHW.shape[3] // patch_size, latents_BFCHW.shape[4] // patch_size)
    positions: tuple[Tensor, Tensor] = get_3d_rotary_pos_embed(
        embed_dim=transformer.config.attention_head_dim,
        crops_coords=((0, 0), grid),
        grid_size=grid,
        temporal_size=latents_BFCHW.shape[1],
        device=latents_BFCHW.device,
    )
    return positions


def _stock_transformer(ours: StageOneTransformer3DModel) -> CogVideoXTransformer3DModel:
    weights: dict[str, Any] = {
        name: tensor for name, tensor in ours.state_dict().items() if name.split(".")[0] not in STAGE_TWO_EMBEDDINGS
    }
    stock = CogVideoXTransformer3DModel.from_config({**ours.config, "use_rotary_positional_embeddings": True})
    stock.load_state_dict(weights)
    stock.norm_out.norm.eps = NORM_OUT_EPS  # what the released weights were trained with
    return stock.eval().requires_grad_(False)
