"""A list of words to a tokenizer of whole words, for a text encoder that is trained from nothing.

What is not in the list is passed over, so that any sentence can be read: no token stands for an unknown word. The
tokenizer is tokenizers' own classes alone, so that a checkpoint with it opens without code of ours.
"""

import re
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fv_ray.errors import InputError

PAD = "<pad>"
END = "</s>"


def make_word_tokenizer(words: Sequence[str], max_tokens: int) -> PreTrainedTokenizerFast:
    """A tokenizer that gives a token for each of `words` in a text, whatever their case, and one for the end.

    Padding has index 0, the end 1, the words follow in their order.

    Args:
        words: Different ones of the letters a to z. A word of a text is a longest run of such letters.
        max_tokens: The text encoder's window, with the end.

    Raises:
        InputError: for a word that no text holds, a repeated one or a window without room for one.
    """
    _check(words, max_tokens)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate((PAD, END, *words))}))
    tokenizer.normalizer = normalizers.Lowercase()
    known = Regex(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z])")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(known, "removed", invert=True)  # what lies between is removed
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, model_max_length=max_tokens
    )


def _check(words: Sequence[str], max_tokens: int) -> None:
    if max_tokens < 2:
        raise InputError(f"max_tokens is {max_tokens}; it must be 2 or more, a word and the end; give a wider window")
    if not words:
        raise InputError("there are no words; a tokenizer needs one or more; give a vocabulary")
    for word in words:
        if not re.fullmatch("[a-z]+", word):
            raise InputError(f"the word {word!r} is none; words are of the letters a to z; split it or leave it out")
    if len(set(words)) < len(words):
        repeated = next(word for i, word in enumerate(words) if word in words[:i])
        raise InputError(f"the word {repeated!r} is there twice; each may be there once; leave it out")
