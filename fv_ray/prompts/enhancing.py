"""A prompt to an enhanced one by a language model, whichever: ask, check, ask again, or keep the user's own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from fv_ray.prompts.answer import Answer, AnswerRefused, answer_schema, clean, read_answer
from fv_ray.prompts.enhanced import Enhanced, EnhancerKind
from fv_ray.prompts.facts import lost_facts, quoted
from fv_ray.prompts.messages import Message, asked_again, max_words, messages_for, rules_text
from fv_ray.prompts.window import PromptWindow

EnhancePrompt = Literal["auto", "always", "never"]
"""auto: where the prompt is shorter than a caption."""
Ask = Callable[[Sequence[Message], int], Awaitable[str]]
"""A chat and a seed to what the language model answers. Raises `AnswerRefused` where that is not to be used."""

MAX_TRIES = 3
MIN_WORDS = 20
COPIED_WORDS = 12
"""As many words of the instructions in a row are no accident."""
_FUNCTION_WORDS = "a an and are as at by for from in into is it its of on over the their to while with"
ENGLISH = frozenset(_FUNCTION_WORDS.split())
ENGLISH_SHARE = 0.2
"""Of such words in captions; of a caption in this style they are two of five."""
_REFUSAL = re.compile(r"\b(?:I(?:'m| am) (?:sorry|unable)|I can(?:'t|not| not)\b|as an AI\b|I won't\b)", re.IGNORECASE)


def instructions_digest() -> str:
    """Of what a language model is told beside the prompt, whatever the window: another one, other captions."""
    told = json.dumps([messages_for("", 0), answer_schema()], sort_keys=True)
    return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"


async def enhance(
    prompt: str, seed: int, ask: Ask, window: PromptWindow, *, kind: EnhancerKind, is_forced: bool = False
) -> Enhanced:
    """Ask up to three times for a caption that passes every check; where none does, the user's prompt goes on.

    Args:
        prompt: the user's.
        seed: of the language model's choices.
        ask: the language model.
        window: of the text encoder.
        kind: told.
        is_forced: also where the prompt is long enough.
    """
    if (as_it_is := unchanged(prompt, window, kind=kind, is_forced=is_forced)) is not None:
        return as_it_is
    messages, reasons = messages_for(clean(prompt), window.max_tokens), list[str]()
    for _ in range(MAX_TRIES):
        answer = ""
        try:
            answer = await ask(messages, seed)
            return accepted(prompt, answer, window, kind=kind)
        except AnswerRefused as refused:
            reasons.append(str(refused))
            messages = asked_again(messages, answer[:4000], str(refused))
    return refused_answers(prompt, reasons, kind=kind)


def unchanged(prompt: str, window: PromptWindow, *, kind: EnhancerKind, is_forced: bool) -> Enhanced | None:
    """What is told of a prompt that no language model is asked about; None where one is."""
    if not window.fits(prompt):
        note = (
            f"the prompt is {window.count(prompt)} tokens long and the text encoder reads {window.max_tokens}; "
            "one that is too long is not rewritten: shorten it"
        )
        return Enhanced(prompt=prompt, kind=kind, outcome="too_long", notes=(note,))
    if window.is_long(prompt) and not is_forced:
        return Enhanced(prompt=prompt, kind=kind, outcome="long_enough")
    return None


def accepted(prompt: str, answer: str, window: PromptWindow, *, kind: EnhancerKind) -> Enhanced:
    """An answer that passes every check.

    Raises:
        AnswerRefused: it does not.
    """
    read = read_answer(answer)
    _check_words(read, min(MIN_WORDS, max_words(window.max_tokens) // 2))
    caption = window.shortened(read.caption)
    _check_facts(prompt, caption, read)
    notes = () if caption == read.caption else ("the caption was too long: its last sentences were left out",)
    return Enhanced(
        prompt=prompt, enhanced_prompt=caption, kind=kind, outcome="enhanced", motion=read.motion, notes=notes
    )


def refused_answers(prompt: str, reasons: Sequence[str], *, kind: EnhancerKind) -> Enhanced:
    """What is told where no answer could be used."""
    notes = tuple(f"answer {n} was not used: {reason}" for n, reason in enumerate(reasons, 1))
    return Enhanced(prompt=prompt, kind=kind, outcome="refused", notes=notes)


def _check_words(answer: Answer, min_words: int) -> None:
    words = re.findall(r"[^\W_]+", answer.caption.lower())
    if _REFUSAL.search(answer.caption):
        raise AnswerRefused("the caption speaks of you and not of the scene")
    if len(words) < min_words:
        raise AnswerRefused(f"the caption has {len(words)} words, at least {min_words} English ones are asked for")
    if sum(word in ENGLISH for word in words) < ENGLISH_SHARE * len(words):
        raise AnswerRefused("the caption is not in English")
    rules = " ".join(re.findall(r"[^\W_]+", rules_text().lower()))
    runs = (" ".join(words[at : at + COPIED_WORDS]) for at in range(len(words) - COPIED_WORDS + 1))
    if any(run in rules for run in runs):
        raise AnswerRefused("the caption repeats the rules")


def _check_facts(prompt: str, caption: str, answer: Answer) -> None:
    if not caption:
        raise AnswerRefused("the caption's first sentence alone is too long")
    if lost := lost_facts(prompt, caption, is_english=answer.language == "en"):
        raise AnswerRefused(f"the caption does not say {', '.join(lost[:5])}, as the description does")
    if invented := [text for text in quoted(caption) if text.lower() not in prompt.lower()]:
        raise AnswerRefused(f"the caption quotes {invented[0]!r}, which the description does not")
