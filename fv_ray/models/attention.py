"""Joint attention of text and video tokens, and the choice of its kernel."""

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from fv_ray.errors import InputError

HEAD_DIM = 64  # of the released transformers


def check_attention_backend(backend: str, device: torch.device, dtype: torch.dtype) -> None:
    """Run one small attention with diffusers' kernel of that name.

    Raises:
        InputError: there is no such kernel, or it does not run on this device in this dtype.
    """
    names = sorted(name.value for name in AttentionBackendName)
    if backend not in names:
        raise InputError(f"there is no attention backend {backend!r}; diffusers has {', '.join(names)}")
    x = torch.ones(1, 2 * HEAD_DIM, 1, HEAD_DIM, device=device, dtype=dtype)
    try:
        dispatch_attention_fn(x, x, x, backend=AttentionBackendName(backend))
    except Exception as error:  # each kernel's library raises its own
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"attention backend {backend!r} does not run on {device} in {dtype} ({first_line}); try native"
        ) from error


class FlashVideoAttnProcessor:
    """Joint attention of text and video tokens through diffusers' attention backends.

    The stock CogVideoX processor calls torch directly, so that `set_attention_backend` has no effect on it.
    """

    _attention_backend = None  # set by `set_attention_backend` and `enable_parallelism`
    _parallel_config = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend over (B, text + video, D); only video tokens are rotated. Returns video and text apart."""
        num_text_tokens = encoder_hidden_states.shape[1]
        tokens_BLD = torch.cat([encoder_hidden_states, hidden_states], dim=1)

        query, key, value = attn.to_q(tokens_BLD), attn.to_k(tokens_BLD), attn.to_v(tokens_BLD)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)) for x in (query, key, value))  # (B, L, heads, D)
        query, key = attn.norm_q(query), attn.norm_k(key)

        if image_rotary_emb is not None:
            query = _rotate_video(query, num_text_tokens, image_rotary_emb)
            key = _rotate_video(key, num_text_tokens, image_rotary_emb)

        tokens_BLD = dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=attention_mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        ).flatten(2, 3)
        tokens_BLD = attn.to_out[0](tokens_BLD.to(query.dtype))
        return tokens_BLD[:, num_text_tokens:], tokens_BLD[:, :num_text_tokens]


def _rotate_video(x: Tensor, num_text_tokens: int, positions: tuple[Tensor, Tensor]) -> Tensor:
    x[:, num_text_tokens:] = apply_rotary_emb(x[:, num_text_tokens:], positions, sequence_dim=1)
    return x
