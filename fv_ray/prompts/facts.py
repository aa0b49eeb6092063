"""Did the user's facts survive? Names, numbers, colours and quoted words of a prompt, looked for in a caption.

Words are compared, not meanings: a fact that is told in other words counts as lost, and the user's own prompt goes on.
"""

from __future__ import annotations

import re

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
DOZEN = {"dozen": 12, "hundred": 100, "thousand": 1000}
ONE = frozenset({"a", "an", "one", "single", "1"})
"""One thing needs no number."""
_COLOUR_WORDS = """
    amber aqua azure beige black blond blue bronze brown crimson cyan gold golden gray green grey indigo ivory lilac
    magenta maroon navy orange pink purple red scarlet silver tan teal turquoise violet white yellow
"""
COLOURS = frozenset(_COLOUR_WORDS.split())
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
SAME = {"gray": "grey", "golden": "gold"}


def lost_facts(prompt: str, caption: str, *, is_english: bool) -> list[str]:
    """What a prompt says and a caption does not, in the prompt's words; empty where all of it survived.

    Args:
        prompt: the user's.
        caption: in English.
        is_english: whether the prompt is; of others, only figures and quoted words can be looked for.
    """
    lost = [text for text in quoted(prompt) if text.lower() not in caption.lower()]
    lost += sorted(_numbers(prompt) - _numbers(caption))
    if is_english:
        words = {SAME.get(word, word) for word in _words(caption)}
        lost += [word for word in _words(prompt) if word in COLOURS and SAME.get(word, word) not in words]
        lost += [name for name in _names(_QUOTED.sub("", prompt)) if not set(_words(name)) <= set(_words(caption))]
    return list(dict.fromkeys(lost))


def quoted(text: str) -> list[str]:
    """What stands between double quotation marks."""
    return [straight or curly for straight, curly in _QUOTED.findall(text)]


def _words(text: str) -> list[str]:
    return [word.removesuffix("'s") for word in re.findall(r"[^\W_]+(?:'s)?", text.lower().replace("’", "'"))]


def _numbers(text: str) -> set[str]:
    """The numbers but one, in figures, as far as they stand alone."""
    words = _words(text)
    spelled = {str(n): word for n, word in enumerate(NUMBERS)} | {str(n): word for word, n in DOZEN.items()}
    figures = {word: figure for figure, word in spelled.items()}
    found = {figures.get(word, word) for word in words if word not in ONE}
    return {word for word in found if word.isdecimal()}


def _names(text: str) -> list[str]:
    """Words with a capital that do not begin a sentence; none where capitals say nothing, as in a title."""
    words = list(re.finditer(r"[^\W\d_][\w'’]*", text))
    capital = [word for word in words if word.group()[0].isupper() and word.group() != "I"]
    if 2 * len(capital) > len(words):
        return []
    return [word.group() for word in capital if not re.search(r"(?:^|[.!?:\n\"“])\s*$", text[: word.start()])]
