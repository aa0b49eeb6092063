"""Prompts to embeddings: T5 padded to a fixed window, padding attended, as FlashVideo was trained."""

import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from fv_ray.checkpoint import TEXT_ENCODER_FOLDER
from fv_ray.errors import CheckpointError, PromptTooLong, UnknownWords

TOKENIZER_FOLDER = "tokenizer"
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
"""Either holds the vocabulary."""
MAX_WORDS_TOLD = 10


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
        ids = self._tokenizer(_composed(prompt), add_special_tokens=True, truncation=False, verbose=False).input_ids
        return max(0, len(ids) - self.max_tokens)

    def unknown_words(self, prompt: str) -> list[str]:
        """The prompt's words that no token stands for, each once.

        T5's own tokenizer knows pieces of words, so it has none; one of whole words passes over the others.
        """
        if self._tokenizer.unk_token is not None:
            return []
        prompt = _composed(prompt)
        encoded = self._tokenizer(prompt, return_offsets_mapping=True, truncation=False, verbose=False)
        known = {start for start, end in encoded.offset_mapping if end > start}
        words = (match for match in re.finditer(r"[^\W\d_]+", prompt) if match.start() not in known)
        return list(dict.fromkeys(match.group() for match in words))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embed `prompts` to (B, max_tokens, embed_dim), in the model's dtype on its device.

        Warns:
            PromptTooLong: naming how many tokens of a prompt were cut.
            UnknownWords: naming those of a prompt.
        """
        for prompt in prompts:
            if unknown := self.unknown_words(prompt):
                more = "" if len(unknown) <= MAX_WORDS_TOLD else f" and {len(unknown) - MAX_WORDS_TOLD} more"
                warnings.warn(
                    f"this checkpoint's text encoder does not know {', '.join(unknown[:MAX_WORDS_TOLD])}{more}: "
                    f"passed over; it reads the words of its list of {self._tokenizer.vocab_size} alone",
                    UnknownWords,
                    stacklevel=4,  # past torch and `encode_prompts`
                )
            if num_cut := self.num_tokens_cut(prompt):
                warnings.warn(
                    f"the prompt is {self.max_tokens + num_cut} tokens long and the text encoder reads "
                    f"{self.max_tokens}: the last {num_cut} tokens were cut; shorten the prompt",
                    PromptTooLong,
                    stacklevel=4,  # past torch and `encode_prompts`
                )
        return self._model(self.tokens(prompts).to(self._model.device)).last_hidden_state

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """The ids of `prompts`' tokens, (B, max_tokens), cut and padded to the window."""
        tokens: Any = self._tokenizer(
            [_composed(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        return tokens.input_ids

    @property
    def model(self) -> T5EncoderModel:
        """The encoder itself, for training."""
        return self._model


def _composed(prompt: str) -> str:
    """In Unicode's form NFC, as work keys have it: what looks alike and has one key is one prompt to any tokenizer."""
    return unicodedata.normalize("NFC", prompt)


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
    tokenizer = open_tokenizer(folder / TOKENIZER_FOLDER)
    return TextEncoder(tokenizer, load_t5(folder / TEXT_ENCODER_FOLDER, dtype).to(device), max_tokens)


def load_t5(folder: Path, dtype: torch.dtype) -> T5EncoderModel:
    """A T5 encoder from safetensors, with every weight of it in the file.

    Raises:
        CheckpointError: the folder is no such encoder; transformers alone would fill what is missing at random.
    """
    try:
        if not (folder / "config.json").is_file():
            raise FileNotFoundError("config.json is missing")
        model, report = T5EncoderModel.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers, safetensors and torch each raise their own
        raise CheckpointError(f"the text encoder in {folder} cannot be loaded ({error}); give it whole") from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"the text encoder in {folder} lacks {missing[0]}; give it whole, in safetensors")
    return model


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer with a vocabulary and a padding token.

    Raises:
        CheckpointError: the folder holds none; transformers alone would go on with an empty vocabulary.
    """
    try:
        if not any((folder / file).is_file() for file in TOKENIZER_FILES):
            raise FileNotFoundError(f"none of {', '.join(TOKENIZER_FILES)} is there")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers each raise their own
        raise CheckpointError(f"the tokenizer in {folder} cannot be opened ({error}); give it whole") from error
    if tokenizer.pad_token is None:
        raise CheckpointError(f"the tokenizer in {folder} has no padding token; give it with tokenizer_config.json")
    return tokenizer


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
