"""Stage one: a prompt to a preview, `VideoRequest -> Preview`.

A stochastic DPM-Solver++ over v-predictions with dynamic guidance (paper section 3.2; released configuration).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from fv_ray import pixels, vae
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError
from fv_ray.guidance import check_guidance, dynamic_guidance_scales, guide, with_unconditional
from fv_ray.latents import check_inputs, latents_shape, require_finite
from fv_ray.models.loading import load_stage_one_transformer, load_vae
from fv_ray.models.lora import load_loras
from fv_ray.models.transformer import StageOneTransformer3DModel
from fv_ray.noise import BatchedNoise, NoiseSource, SeededNoise
from fv_ray.phases import phase, phase_of_chunks
from fv_ray.schedulers import ZeroSNRDPMSolverScheduler
from fv_ray.text_encoder import TextEncoder, encode_prompts, load_text_encoder
from fv_ray.types import OnProgress, Preview, StageOneSampling, VideoRequest


class StageOne:
    """Holds stage one's weights; every method is a pure function of its arguments."""

    def __init__(
        self,
        *,
        checkpoint: CheckpointInfo,
        transformer: StageOneTransformer3DModel,
        vae: AutoencoderKLCogVideoX,
        text_encoder: TextEncoder | None,
    ) -> None:
        self.checkpoint = checkpoint
        self.transformer = transformer
        self.vae = vae
        self.text_encoder = text_encoder

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """Load a folder that `fv-ray convert` wrote.

        Raises:
            CheckpointError: naming what is missing or wrong in it.
        """
        checkpoint = CheckpointInfo.read(folder)
        return cls(
            checkpoint=checkpoint,
            transformer=load_stage_one_transformer(folder, device=device, dtype=dtype),
            vae=load_vae(folder, device=device, dtype=dtype),
            text_encoder=load_text_encoder(folder, checkpoint.max_prompt_tokens, device=device, dtype=dtype),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.transformer.parameters()).device

    def load_loras(self, scales: Mapping[Path, float]) -> None:
        """Put LoRA files over the transformer, each weighed by its scale, instead of earlier ones.

        Raises:
            InputError: a file is not a LoRA of this transformer.
        """
        load_loras(self.transformer, scales)

    def generate(self, request: VideoRequest, *, on_progress: OnProgress | None = None) -> Preview:
        """Make a preview; raise from `on_progress` to cancel.

        Raises:
            InputError: the checkpoint cannot make what is asked for.
            NumericalError: the latents are not finite.
        """
        return self.generate_batch([request], on_progress=on_progress)[0]

    def generate_batch(
        self, requests: Sequence[VideoRequest], *, on_progress: OnProgress | None = None
    ) -> list[Preview]:
        """Make previews of several prompts in one run; they must share their stage-one parameters.

        Each draws its own noise from its own seed, so that it comes out as it would alone but for rounding.
        """
        sampling = self._shared_sampling(requests)
        with phase("text_encode", 1, on_progress, self.device):
            prompts = [sampling.prompt_prefix + request.prompt for request in requests]
            prompt_embeds_BLD = encode_prompts(self.text_encoder, prompts)
        noise = BatchedNoise([SeededNoise(request.seed) for request in requests])
        latents_BFCHW = self.denoise(
            prompt_embeds_BLD,
            latents_BFCHW=noise((len(requests), *self._latents_shape(sampling))),
            noise=noise,
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            on_progress=on_progress,
        )
        return [
            self._preview(request, latents_FCHW.numpy())
            for request, latents_FCHW in zip(requests, latents_BFCHW.cpu(), strict=True)
        ]

    @torch.no_grad()
    def denoise(
        self,
        prompt_embeds_BLD: Tensor,
        *,
        latents_BFCHW: Tensor,
        noise: NoiseSource,
        num_inference_steps: int,
        guidance_scale: float,
        on_progress: OnProgress | None = None,
    ) -> Tensor:
        """From noise to scaled latents, float32 (B, F, C, H, W).

        Args:
            prompt_embeds_BLD: from the text encoder.
            latents_BFCHW: the start noise.
            noise: gives one draw of the latents' shape for every step but the last.
            num_inference_steps: evaluations of the transformer.
            guidance_scale: of the dynamic guidance; 0 is none, at the same cost.
            on_progress: told each step as phase "denoise".

        Raises:
            InputError: for a shape or a value that is not allowed.
            NumericalError: the latents are not finite.
        """
        check_inputs(latents_BFCHW, prompt_embeds_BLD, self.transformer.config)
        check_guidance(guidance_scale)
        device, dtype = self.device, self.transformer.dtype  # each walks the modules
        scheduler = ZeroSNRDPMSolverScheduler()
        scheduler.set_timesteps(num_inference_steps, device=device)
        scales = dynamic_guidance_scales(scheduler.timesteps, num_inference_steps, guidance_scale).tolist()
        draws = [noise(latents_BFCHW.shape).to(device) for _ in range(num_inference_steps - 1)]
        latents_BFCHW = latents_BFCHW.to(device, torch.float32)
        embeds_BLD = with_unconditional(prompt_embeds_BLD).to(device, dtype)
        positions = self.transformer.rotary_positions(latents_BFCHW)

        with phase("denoise", num_inference_steps, on_progress, device) as report:
            steps = zip(scheduler.timesteps, scales, [*draws, None], strict=True)
            for step, (timestep, scale, draw) in enumerate(steps, start=1):
                v_pair = self.transformer(
                    latents_BFCHW.to(dtype).repeat(2, 1, 1, 1, 1),
                    embeds_BLD,
                    timestep.expand(len(embeds_BLD)),
                    image_rotary_emb=positions,
                ).sample.float()
                unconditional_BFCHW, conditional_BFCHW = v_pair.chunk(2)
                v_BFCHW = guide(unconditional_BFCHW, conditional_BFCHW, scale)
                latents_BFCHW = scheduler.step(v_BFCHW, timestep, latents_BFCHW, noise=draw).prev_sample
                report(step)
        return require_finite(latents_BFCHW, "stage one")

    def decode(self, latents_BFCHW: Tensor) -> Tensor:
        """Scaled latents to float frames (B, C, F, H, W), unclamped, -1..1 nominal."""
        return torch.cat(list(self.decode_chunks(latents_BFCHW)), dim=2)

    def decode_chunks(self, latents_BFCHW: Tensor) -> Iterator[Tensor]:
        """The frames of `decode` chunk by chunk along time."""
        latents_BCFHW = latents_BFCHW.float().transpose(1, 2) / self.checkpoint.stage_one_scaling_factor
        return vae.decode_chunks(self.vae, latents_BCFHW)

    def preview_frames(self, preview: Preview, *, on_progress: OnProgress | None = None) -> np.ndarray:
        """What a person sees of a preview: uint8 (F, H, W, 3), told as phase "decode"."""
        latents_BFCHW = torch.tensor(preview.latents_FCHW)[None]
        num_chunks = vae.num_decode_chunks(len(preview.latents_FCHW))
        chunks = (
            pixels.to_uint8(require_finite(frames_BCFHW, "the autoencoder")[0])
            for frames_BCFHW in self.decode_chunks(latents_BFCHW)
        )
        return np.concatenate(list(phase_of_chunks("decode", num_chunks, chunks, on_progress)))

    def _shared_sampling(self, requests: Sequence[VideoRequest]) -> StageOneSampling:
        if not requests:
            raise InputError("the batch is empty; give at least one request")
        for request in requests:
            self.checkpoint.check(request)
            if request.stage_one != requests[0].stage_one:
                raise InputError("the requests of a batch differ in stage one's parameters; run them apart")
        return requests[0].stage_one

    def _latents_shape(self, sampling: StageOneSampling) -> tuple[int, int, int, int]:
        channels = self.transformer.config.in_channels
        return latents_shape(sampling.num_frames, channels, sampling.height, sampling.width)

    def _preview(self, request: VideoRequest, latents_FCHW: np.ndarray) -> Preview:
        return Preview(
            request=request,
            latents_FCHW=latents_FCHW,
            latents_scaling_factor=self.checkpoint.stage_one_scaling_factor,
            checkpoint_digest=self.checkpoint.digest,
            fps=self.checkpoint.fps,
        )
