"""The enhancer without a language model, for checkpoints that read the procedural world's words alone."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from fv_ray.errors import CheckpointError
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.training.procedural.captions import vocabulary
from fv_ray.training.procedural.rewriting import is_caption, rewrite

RULES_VERSION = 1
"""Of the captions that the same prompts and seeds get. Raise it with any change of them."""


def enhance(prompt: str, seed: int, *, is_forced: bool = False) -> Enhanced:
    """A caption that keeps what the prompt says and tells what it chose and what it could not use.

    Args:
        prompt: the user's.
        seed: of what is chosen.
        is_forced: also where the prompt says everything already.
    """
    if is_caption(prompt) and not is_forced:
        return Enhanced(prompt=prompt, kind="rules", outcome="long_enough")
    rewritten = rewrite(prompt, seed)
    return Enhanced(
        prompt=prompt,
        enhanced_prompt=rewritten.caption,
        kind="rules",
        outcome="enhanced",
        notes=rewritten.notes,
    )


def require_known_words(checkpoint: str | Path) -> None:
    """Refuse a checkpoint that was trained on other words: captions of this world would be told of nothing else.

    Raises:
        CheckpointError: naming the folder.
    """
    file = Path(checkpoint) / "tokenizer" / "tokenizer.json"
    words = Tokenizer.from_file(str(file)).get_vocab() if file.is_file() else {}
    if set(vocabulary()) != {word for word in words if word.isalpha()}:
        raise CheckpointError(
            f"{checkpoint} does not read the words of the procedural world; rules rewrite prompts to these alone: "
            "use another kind of enhancer for it, openai or vllm"
        )
