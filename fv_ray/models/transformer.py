"""The transformers of both stages: CogVideoX's, changed only where FlashVideo differs.

Released code: integer rotary positions and an epsilon of 1e-6 in the last norm (both stages), embeddings of the noise
level and of the number of latent frames beside the timestep's (stage two).
"""

from functools import update_wrapper
from typing import Any, ClassVar

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor

from fv_ray.models.attention import FlashVideoAttnProcessor
from fv_ray.models.rope import rotary_positions

NORM_OUT_EPS = 1e-6


class StageOneTransformer3DModel(CogVideoXTransformer3DModel):  # type: ignore[misc]
    """Predicts v of noisy latents at a timestep in 0..999, given the prompt."""

    _repeated_blocks: ClassVar = ["CogVideoXBlock"]

    def __init__(self, **config: object) -> None:
        super().__init__(**config | {"use_rotary_positional_embeddings": True})
        self.norm_out.norm.eps = NORM_OUT_EPS
        self.set_attn_processor(FlashVideoAttnProcessor())

    def rotary_positions(self, latents_BFCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Positions for `forward`, the same for every step: make them once per shape."""
        config = self.config
        return rotary_positions(latents_BFCHW.shape, config.patch_size, config.attention_head_dim, latents_BFCHW.device)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict, of the shape of `hidden_states`.

        Args:
            hidden_states: latents (B, F, C, H, W), H and W even.
            encoder_hidden_states: prompt embeddings (B, L, D); all zeros for the unconditional prediction.
            timestep: (B,), may be fractional.
            image_rotary_emb: from `rotary_positions`; made here if not given.
            attention_kwargs: passed to the attention processor; `scale` weighs loaded LoRA layers.
            return_dict: False returns a tuple.
        """
        return super().forward(
            hidden_states,
            encoder_hidden_states,
            timestep,
            image_rotary_emb=image_rotary_emb or self.rotary_positions(hidden_states),
            attention_kwargs=attention_kwargs,
            return_dict=return_dict,
        )


class _SummedTimestepEmbedding(TimestepEmbedding):  # type: ignore[misc]
    """A timestep embedding to which other embeddings are added; diffusers' own `condition` enters before the MLP."""

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        return super().forward(sample) + condition


class StageTwoTransformer3DModel(StageOneTransformer3DModel):
    """Predicts the velocity of latents on the way from the degraded preview to the video.

    Two embeddings are summed to the timestep's: of the noise level that the flow started from (the paper's noise
    strength embedding, section 3.3) and of the number of latent frames.
    """

    def __init__(self, **config: object) -> None:
        super().__init__(**config)
        inner_dim = self.config.num_attention_heads * self.config.attention_head_dim
        time_embed_dim = self.config.time_embed_dim
        self.time_embedding = _SummedTimestepEmbedding(inner_dim, time_embed_dim)
        self.noise_level_embedding = TimestepEmbedding(inner_dim, time_embed_dim)
        self.num_frames_embedding = TimestepEmbedding(inner_dim, time_embed_dim)

    def forward(  # type: ignore[override]  # one input more
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        noise_level: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict, of the shape of `hidden_states`.

        Args:
            hidden_states: latents (B, F, C, H, W), H and W even.
            encoder_hidden_states: prompt embeddings (B, L, D); all zeros for the unconditional prediction.
            timestep: (B,), 1000 at the degraded end down to 0, fractional.
            noise_level: (B,), index of the latent degradation, 0..999.
            image_rotary_emb: from `rotary_positions`; made here if not given.
            attention_kwargs: passed to the attention processor; `scale` weighs loaded LoRA layers.
            return_dict: False returns a tuple.
        """
        num_frames = torch.full_like(noise_level, hidden_states.shape[1])
        condition = self._embed(self.noise_level_embedding, noise_level, hidden_states.dtype)
        condition = condition + self._embed(self.num_frames_embedding, num_frames, hidden_states.dtype)
        return CogVideoXTransformer3DModel.forward(
            self,
            hidden_states,
            encoder_hidden_states,
            timestep,
            timestep_cond=condition,
            image_rotary_emb=image_rotary_emb or self.rotary_positions(hidden_states),
            attention_kwargs=attention_kwargs,
            return_dict=return_dict,
        )

    def _embed(self, embedding: TimestepEmbedding, index: Tensor, dtype: torch.dtype) -> Tensor:
        return embedding(self.time_proj(index).to(dtype))


# diffusers reads the keys of a configuration from the constructor's signature: they are CogVideoX's.
update_wrapper(StageOneTransformer3DModel.__init__, CogVideoXTransformer3DModel.__init__)
update_wrapper(StageTwoTransformer3DModel.__init__, CogVideoXTransformer3DModel.__init__)
