"""Prompts to embeddings: T5 padded to a fixed window, padding attended, as FlashVideo was trained."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from fv_ray.errors import CheckpointError, PromptTooLong

TEXT_ENCODER_FOLDER = "text_encoder"
TOKENIZER_FOLDER = "tokenizer"
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
"""Either holds the vocabulary."""


class TextEncoder:
    """A T5 encoder with its tokenizer.

    Neither T5 nor the transformers mask the padding. The unconditional embedding is all zeros, whatever a negative
    prompt might say: training dropped text by zeroing its embedding.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: T5EncoderModel, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._model = model.eval()
        self.max_tokens = max_tokens

    @property
    def embed_dim(self) -> int:
        """Size of an embedding."""
        return int(self._model.config.d_model)

    def num_tokens_cut(self, prompt: str) -> int:
        """How many of the prompt's tokens lie behind the window and are not read."""
        ids = self._tokenizer(prompt, add_special_tokens=True, truncation=False, verbose=False).input_ids
        return max(0, len(ids) - self.max_tokens)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embed `prompts` to (B, max_tokens, embed_dim), in the model's dtype on its device.

        Warns:
            PromptTooLong: naming how many tokens of a prompt were cut.
        """
        for prompt in prompts:
            if num_cut := self.num_tokens_cut(prompt):
                warnings.warn(
                    f"the prompt is {self.max_tokens + num_cut} tokens long and the text encoder reads "
                    f"{self.max_tokens}: the last {num_cut} tokens were cut; shorten the prompt",
                    PromptTooLong,
                    stacklevel=4,  # past torch and `encode_prompts`
                )
        tokens: Any = self._tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        return self._model(tokens.input_ids.to(self._model.device)).last_hidden_state


def load_text_encoder(
    folder: str | Path, max_tokens: int, *, device: torch.device | str, dtype: torch.dtype
) -> TextEncoder | None:
    """The text encoder of a checkpoint folder, or None where it was converted without one.

    Raises:
        CheckpointError: it is there and cannot be loaded.
    """
    folder = Path(folder)
    if not (folder / TEXT_ENCODER_FOLDER).exists():
        return None
    if not any((folder / TOKENIZER_FOLDER / file).is_file() for file in TOKENIZER_FILES):
        # transformers would go on with an empty vocabulary
        raise CheckpointError(f"the tokenizer in {folder} is missing; the text encoder needs one: convert again")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / TOKENIZER_FOLDER, local_files_only=True)
        model = T5EncoderModel.from_pretrained(
            folder / TEXT_ENCODER_FOLDER, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the text encoder in {folder} cannot be loaded ({error}); convert again") from error
    return TextEncoder(tokenizer, model.to(device), max_tokens)


def encode_prompts(text_encoder: TextEncoder | None, prompts: Sequence[str]) -> Tensor:
    """Embed `prompts`.

    Raises:
        CheckpointError: there is no text encoder.
    """
    if text_encoder is None:
        raise CheckpointError(
            "this checkpoint has no text encoder; prompts need one: convert again with --text-encoder"
        )
    return text_encoder.encode(prompts)
