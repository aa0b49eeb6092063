"""Stage two: a preview to a video, `VideoRequest, Preview -> Video`.

Flow matching from the preview's noised latents, upsampled in pixels, to those of the video (paper section 3.3).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from fv_ray import pixels, vae
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.degradations.latent import check_noise_level, degrade_latents
from fv_ray.errors import InputError
from fv_ray.guidance import check_guidance, guide
from fv_ray.latents import check_inputs, require_finite
from fv_ray.models.loading import load_stage_two_transformer, load_vae
from fv_ray.models.transformer import StageTwoTransformer3DModel
from fv_ray.noise import NoiseSource, SeededNoise
from fv_ray.phases import phase, phase_of_chunks
from fv_ray.schedulers import flow_euler_scheduler
from fv_ray.text_encoder import TextEncoder, encode_prompts, load_text_encoder
from fv_ray.types import OnProgress, Preview, Video, VideoRequest


class StageTwo:
    """Holds stage two's weights; every method is a pure function of its arguments."""

    def __init__(
        self,
        *,
        checkpoint: CheckpointInfo,
        transformer: StageTwoTransformer3DModel,
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
            transformer=load_stage_two_transformer(folder, device=device, dtype=dtype),
            vae=load_vae(folder, device=device, dtype=dtype),
            text_encoder=load_text_encoder(folder, checkpoint.max_prompt_tokens, device=device, dtype=dtype),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.transformer.parameters()).device

    def refine(self, request: VideoRequest, preview: Preview, *, on_progress: OnProgress | None = None) -> Video:
        """Make the video of a preview; raise from `on_progress` to cancel.

        `request` may say another prompt and other stage-two parameters than the request that made the preview.

        Raises:
            InputError: the checkpoint cannot make what is asked for, or the preview is not of this request.
            NumericalError: the latents are not finite.
        """
        chunks = list(self.refine_chunks(request, preview, on_progress=on_progress))
        return Video(request=request, frames_FHWC=np.concatenate(chunks), fps=preview.fps)

    def refine_chunks(
        self, request: VideoRequest, preview: Preview, *, on_progress: OnProgress | None = None
    ) -> Iterator[np.ndarray]:
        """The frames of `refine`, uint8 (F, H, W, 3), chunk by chunk along time: encode one while the next decodes."""
        self._check(request, preview)
        sampling = request.stage_two
        noise = SeededNoise(request.stage_two_seed)
        with phase("text_encode", 1, on_progress, self.device):
            prompt_embeds_BLD = encode_prompts(self.text_encoder, [sampling.prompt_prefix + request.prompt])
        frames_BCFHW = self.decode_preview(preview, on_progress=on_progress)
        with phase("upsample", 1, on_progress, self.device):
            frames_BCFHW = self.resize(frames_BCFHW, sampling.height, sampling.width)
        with phase("encode", 1, on_progress, self.device):
            latents_BFCHW = require_finite(self.encode(frames_BCFHW, noise=noise), "the autoencoder")
        del frames_BCFHW  # 1.2 GB at 1080p
        latents_BFCHW = self.denoise(
            latents_BFCHW,
            prompt_embeds_BLD,
            noise=noise,
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            shift=sampling.shift,
            noise_level=sampling.noise_level,
            grid_dtype=getattr(torch, sampling.grid_dtype),
            on_progress=on_progress,
        )
        return self._picture_chunks(latents_BFCHW, sampling.decode_slices, on_progress)

    def decode_preview(self, preview: Preview, *, on_progress: OnProgress | None = None) -> Tensor:
        """A preview's float frames (B, C, F, H, W), unclamped: never by way of 8-bit pictures."""
        latents_BCFHW = torch.tensor(preview.latents_FCHW)[None].transpose(1, 2) / preview.latents_scaling_factor
        with phase("decode_preview", 1, on_progress, self.device):
            return vae.decode(self.vae, latents_BCFHW)

    def resize(self, frames_BCFHW: Tensor, height: int, width: int) -> Tensor:
        """Clamp float frames to [-1, 1] and resize them, bilinear with antialiasing, to `height` x `width` pixels."""
        return pixels.resize(frames_BCFHW, height, width)

    def encode(self, frames_BCFHW: Tensor, *, noise: NoiseSource) -> Tensor:
        """Float frames to scaled latents, float32 (B, F, C, H, W).

        The posterior is sampled, as the released code does: `noise` gives one draw (B, C, f, h, w) for each temporal
        chunk of 17, 16, 16, ... frames.
        """
        latents_BCFHW = vae.encode(self.vae, frames_BCFHW, noise=noise).float()
        return latents_BCFHW.transpose(1, 2) * self.checkpoint.stage_two_scaling_factor

    @torch.no_grad()
    def denoise(
        self,
        latents_BFCHW: Tensor,
        prompt_embeds_BLD: Tensor,
        *,
        noise: NoiseSource,
        num_inference_steps: int,
        guidance_scale: float,
        shift: float,
        noise_level: int,
        grid_dtype: torch.dtype = torch.float32,
        on_progress: OnProgress | None = None,
    ) -> Tensor:
        """From the upsampled preview's scaled latents to the video's, float32 (B, F, C, H, W).

        Args:
            latents_BFCHW: from `encode`.
            prompt_embeds_BLD: from the text encoder.
            noise: gives one draw of the latents' shape.
            num_inference_steps: evaluations of the transformer.
            guidance_scale: weight of classifier-free guidance; 1 is off and halves the work.
            shift: of the time grid; 1 is none.
            noise_level: index of the latent degradation that the flow starts from, 0..999.
            grid_dtype: precision of the time grid and of the noise level that the transformer is told; bfloat16 is
                the released scripts', which tells 676 for 675.
            on_progress: told each step as phase "refine".

        Raises:
            InputError: for a shape or a value that is not allowed.
            NumericalError: the latents are not finite.
        """
        check_inputs(latents_BFCHW, prompt_embeds_BLD, self.transformer.config)
        check_guidance(guidance_scale)
        check_noise_level(noise_level)
        dtype = self.transformer.dtype
        scheduler = flow_euler_scheduler(num_inference_steps, shift, grid_dtype, self.device)
        latents_BFCHW = latents_BFCHW.to(self.device, torch.float32)
        draw = noise(latents_BFCHW.shape).to(self.device)
        levels = torch.full((len(latents_BFCHW),), noise_level, device=self.device)
        latents_BFCHW = degrade_latents(latents_BFCHW, draw, levels)
        told_level = levels.to(grid_dtype).float()
        embeds_BLD = prompt_embeds_BLD.to(self.device, dtype)
        # One after the other: at 1080p a pair takes the same time and twice the memory. Without guidance one is enough.
        branches = [embeds_BLD] if guidance_scale == 1 else [torch.zeros_like(embeds_BLD), embeds_BLD]
        positions = self.transformer.rotary_positions(latents_BFCHW)

        with phase("refine", num_inference_steps, on_progress, self.device) as report:
            for step, timestep in enumerate(scheduler.timesteps, start=1):
                inputs_BFCHW, timesteps = latents_BFCHW.to(dtype), timestep.expand(len(latents_BFCHW))
                velocities = [
                    self.transformer(inputs_BFCHW, branch, timesteps, told_level, image_rotary_emb=positions).sample
                    for branch in branches
                ]
                velocity_BFCHW = guide(velocities[0].float(), velocities[-1].float(), guidance_scale)
                latents_BFCHW = scheduler.step(-velocity_BFCHW, timestep, latents_BFCHW).prev_sample
                report(step)
        return require_finite(latents_BFCHW, "stage two")

    def decode(self, latents_BFCHW: Tensor, *, slices: int = 1) -> Tensor:
        """Scaled latents to float frames (B, C, F, H, W), unclamped; 2 `slices` is the released two-slice decode."""
        return torch.cat(list(self.decode_chunks(latents_BFCHW, slices=slices)), dim=2)

    def decode_chunks(self, latents_BFCHW: Tensor, *, slices: int = 1) -> Iterator[Tensor]:
        """The frames of `decode` chunk by chunk along time."""
        latents_BCFHW = latents_BFCHW.float().transpose(1, 2) / self.checkpoint.stage_two_scaling_factor
        return vae.decode_chunks(self.vae, latents_BCFHW, slices=slices)

    def _picture_chunks(
        self, latents_BFCHW: Tensor, slices: int, on_progress: OnProgress | None
    ) -> Iterator[np.ndarray]:
        chunks = (
            pixels.to_uint8(require_finite(frames_BCFHW, "the autoencoder")[0])
            for frames_BCFHW in self.decode_chunks(latents_BFCHW, slices=slices)
        )
        return phase_of_chunks("decode", vae.num_decode_chunks(latents_BFCHW.shape[1]), chunks, on_progress)

    def _check(self, request: VideoRequest, preview: Preview) -> None:
        self.checkpoint.check(request)
        if preview.checkpoint_digest != self.checkpoint.digest:
            raise InputError(
                f"the preview was made by checkpoint {preview.checkpoint_digest}, this is {self.checkpoint.digest}; "
                "refine it with the checkpoint that made it"
            )
        made_by = preview.request
        if (request.seed, request.stage_one) != (made_by.seed, made_by.stage_one):
            raise InputError(
                "the request's seed or stage-one parameters are not those of the preview's request; "
                "only the prompt and stage two's parameters may change: set stage_two.seed for other noise"
            )
