"""A language model's answer to a caption, repaired where that is safe and refused otherwise."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from fv_ray.checkpoint import explain
from fv_ray.prompts.enhanced import Motion
from fv_ray.types import Value

MAX_ANSWER_TOKENS = 512
"""Of the language model: a caption of 120 words and the rest of the object need about 220."""


class AnswerRefused(Exception):
    """An answer that cannot be used, with the reason, in words that the language model may be told."""


def clean(text: str) -> str:
    """Text without control characters and with single spaces."""
    kept = "".join(" " if unicodedata.category(letter) in {"Cc", "Zl", "Zp"} else letter for letter in text)
    return " ".join(kept.split())


class Answer(Value):
    """What is asked for, as JSON."""

    caption: Annotated[str, AfterValidator(clean), StringConstraints(min_length=1)]
    motion: Motion
    subjects: Annotated[tuple[Annotated[str, AfterValidator(clean)], ...], Field(max_length=8)]
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")]


def answer_schema() -> dict[str, Any]:
    """The JSON schema that an engine holds an answer to."""
    return Answer.model_json_schema()


def read_answer(text: str) -> Answer:
    """Read an answer. What stands around its object, such as a code fence or a greeting, is passed over.

    Raises:
        AnswerRefused: it is empty, broken off, no JSON, or not what the schema says.
    """
    if not text.strip():
        raise AnswerRefused("the answer is empty")
    found = [each for each in _objects(text) if "caption" in each]
    if len(found) > 1:
        raise AnswerRefused("the answer holds several captions, one is asked for")
    if not found:
        is_begun = re.search(r"\{\s*\"", text) is not None
        raise AnswerRefused("the answer breaks off" if is_begun else "the answer holds no JSON object")
    try:
        return Answer.model_validate(found[0])
    except ValidationError as error:
        raise AnswerRefused(f"the object is not as asked for ({explain(error)})") from None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that are not inside another one."""
    decoder, place = json.JSONDecoder(strict=False), text.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield found
        place = text.find("{", end)
