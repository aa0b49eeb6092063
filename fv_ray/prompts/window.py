"""The text encoder's window, without the text encoder: how long is a prompt, in its own tokens?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import CheckpointError

LONG_ENOUGH = 1 / 3
"""Of the window: a prompt that fills as much is taken for a caption already. 75 of 226 tokens are some 60 words."""


@dataclass(frozen=True)
class PromptWindow:
    """How many tokens of a prompt are read."""

    max_tokens: int
    """Of the prompt, behind the longest prefix that a preset puts before it."""
    count: Callable[[str], int]
    """A text's tokens with the one that ends it."""

    @classmethod
    def read(cls, checkpoint: str | Path) -> PromptWindow:
        """Of a checkpoint folder.

        Raises:
            CheckpointError: it has no tokenizer, or none that can be read.
        """
        info = CheckpointInfo.read(checkpoint)
        count = _counter(Path(checkpoint) / "tokenizer")
        samplings = [each for preset in info.presets.values() for each in (preset.stage_one, preset.stage_two)]
        prefix = max(count(sampling.prompt_prefix) - count("") for sampling in samplings)
        return cls(max_tokens=info.max_prompt_tokens - prefix, count=count)

    def fits(self, text: str) -> bool:
        """Whether all of it is read."""
        return self.count(text) <= self.max_tokens

    def is_long(self, text: str) -> bool:
        """Whether it is as long as a caption."""
        return self.count(text) >= LONG_ENOUGH * self.max_tokens

    def shortened(self, text: str) -> str:
        """The text without as many last sentences as must go for it to fit; empty where the first is too long."""
        sentences = re.split(r"(?<=[.!?])\s+", text)
        while sentences and not self.fits(" ".join(sentences)):
            sentences.pop()
        return " ".join(sentences)


def _counter(folder: Path) -> Callable[[str], int]:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return lambda text: len(tokenizer.encode(text).ids)
        pieces = SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    except Exception as error:  # tokenizers raises its own, without a class
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be opened ({error}); prompts are counted in its tokens: give it whole"
        ) from error
    return lambda text: len(pieces.encode(text)) + 1  # T5's end
