"""A person's few words to a full caption of the procedural world: what they say is kept, the rest is chosen.

By rules alone: the captions' own grammar and a list of synonyms. The same prompt and seed give the same caption.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from fv_ray.training.procedural.captions import phrases, split_words, vocabulary
from fv_ray.training.procedural.draws import Draws, check_seed
from fv_ray.training.procedural.phrases import (
    BACKGROUND_NOUNS,
    BACKGROUND_TONES,
    COLOUR_WORDS,
    DIRECTIONS,
    MOTION_VERBS,
    MOVING,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    TEXTURE_ADJECTIVES,
    Verb,
)
from fv_ray.training.procedural.scene import ATTRIBUTES, combinations
from fv_ray.training.procedural.synonyms import FILLERS, WORDS
from fv_ray.training.procedural.synonyms import MOVING as MOVING_WORDS

COMBINED = ("colour", "shape", "motion")
"""Attributes of which some combinations are held out of training."""
STRAIGHT = ("left", "right", "up", "down")
MAX_TOLD = 10
"""Words, in a note."""
PLACES = ("on", "in", "over", "against", "before", "across")


@dataclass(frozen=True)
class Rewritten:
    """A caption, and where each part of it comes from."""

    caption: str
    said: Mapping[str, str]
    """The prompt's values, by attribute."""
    chosen: Mapping[str, str]
    """Values of what the prompt leaves open."""
    read_as: Mapping[str, str]
    """The value of each of the prompt's words that captions do not have."""
    unused: tuple[str, ...]
    """The prompt's words that the world has nothing for, or a second value for what it shows once."""

    @property
    def notes(self) -> tuple[str, ...]:
        """For people."""
        told = []
        if self.read_as:
            told.append("read as: " + ", ".join(f"{word} as {value}" for word, value in self.read_as.items()))
        if self.chosen:
            told.append("chosen: " + ", ".join(f"{name} {value}" for name, value in self.chosen.items()))
        if self.unused:
            more = f" and {len(self.unused) - MAX_TOLD} more" if len(self.unused) > MAX_TOLD else ""
            told.append("not used: " + ", ".join(self.unused[:MAX_TOLD]) + more)
        if not self.said:
            told.append("the prompt names nothing that this model knows")
        return tuple(told)


@dataclass
class _Reading:
    """What was found so far."""

    said: dict[str, str]
    words: dict[str, str]
    """The user's own word for a value, where captions have it."""
    read_as: dict[str, str]
    unused: list[str]
    verb: Verb | None = None
    """Says that it moves, and not where to."""


def rewrite(prompt: str, seed: int) -> Rewritten:
    """A caption that says all six attributes.

    Raises:
        InputError: the seed is negative.
    """
    check_seed(seed)
    reading = _read(prompt)
    draws = Draws("rewrite", seed, " ".join(prompt.lower().split()))
    scene = {**reading.said, **_chosen(reading, draws)}
    return Rewritten(
        caption=_sentence(scene, reading),
        said={name: reading.said[name] for name in ATTRIBUTES if name in reading.said},
        chosen={name: scene[name] for name in ATTRIBUTES if name not in reading.said},
        read_as=reading.read_as,
        unused=tuple(dict.fromkeys(reading.unused)),
    )


def is_caption(prompt: str) -> bool:
    """Whether it says all six attributes in the captions' own words."""
    reading = _read(prompt)
    return reading.said.keys() == ATTRIBUTES.keys() and set(split_words(prompt)) <= set(vocabulary())


def _read(prompt: str) -> _Reading:
    """The phrases of a prompt, the longest first; of two values for an attribute the captions' own, then the first."""
    words = re.findall(r"[^\W\d_]+|\d+", prompt)
    lower = [word.lower() for word in words]
    reading, place = _Reading({}, {}, {}, []), 0
    while place < len(words):
        length = next((n for n in range(_longest(), 0, -1) if tuple(lower[place : place + n]) in _meanings()), 1)
        _take(reading, tuple(lower[place : place + length]), " ".join(words[place : place + length]))
        place += length
    return reading


def _take(reading: _Reading, phrase: tuple[str, ...], as_written: str) -> None:
    meaning = _meanings().get(phrase)
    if meaning is None:
        if phrase[0] in _moving_verbs():
            reading.verb = reading.verb or _moving_verbs()[phrase[0]]
        elif phrase[0] not in FILLERS:
            reading.unused.append(as_written)
        return
    attribute, value = meaning
    is_own = phrase in phrases()
    if is_own and attribute not in reading.words:
        others = [word for word, told in reading.read_as.items() if told.partition(" ")[0] == attribute]
        if reading.said.get(attribute, value) != value:
            reading.unused += others
            reading.read_as = {word: told for word, told in reading.read_as.items() if word not in others}
        reading.said[attribute], reading.words[attribute] = value, " ".join(phrase)
    elif reading.said.setdefault(attribute, value) != value:
        reading.unused.append(as_written)
    elif not is_own:
        reading.read_as[as_written] = f"{attribute} {value}"


def _chosen(reading: _Reading, draws: Draws) -> dict[str, str]:
    """Values of what is left open. Colour, shape and motion make a combination that was trained, where there is one."""
    said = reading.said
    fitting = [
        named
        for each in combinations("train")
        if all(
            (named := dict(zip(COMBINED, each, strict=True)))[name] == said.get(name, named[name]) for name in COMBINED
        )
        and (reading.verb is None or "motion" in said or named["motion"] in STRAIGHT)
    ]
    combination = draws.choose(fitting) if fitting else {name: draws.choose(ATTRIBUTES[name]) for name in COMBINED}
    others = {name: draws.choose(values) for name, values in ATTRIBUTES.items() if name not in COMBINED}
    return {name: value for name, value in {**combination, **others}.items() if name not in said}


def _sentence(scene: Mapping[str, str], reading: _Reading) -> str:
    """The captions' most usual form, with the user's own words where captions have them and the usual ones else."""
    words = reading.words

    def word(name: str, options: tuple[str, ...]) -> str:
        own = words.get(name, "")
        return own if own in options else options[0]

    thing = " ".join(
        (
            word("size", SIZE_ADJECTIVES[scene["size"]]),
            word("texture", TEXTURE_ADJECTIVES[scene["texture"]]),
            word("colour", COLOUR_WORDS[scene["colour"]]),
            word("shape", SHAPE_NOUNS[scene["shape"]]),
        )
    )
    tone, _, noun = words.get("background", "").partition(" ")
    tone = tone if tone in BACKGROUND_TONES[scene["background"]] else BACKGROUND_TONES[scene["background"]][0]
    noun = noun if noun in BACKGROUND_NOUNS else BACKGROUND_NOUNS[0]
    return f"a {thing} {_motion(scene['motion'], words.get('motion'), reading.verb)} on a {tone} {noun}"


def _motion(motion: str, own: str | None, verb: Verb | None) -> str:
    """The user's own word for a motion, else the usual one."""
    for each in MOTION_VERBS[motion]:
        if own in each:
            return each.finite
    directions = DIRECTIONS.get(motion, ())
    if directions and (own in directions or verb is not None or not MOTION_VERBS[motion]):
        return f"{(verb or MOVING[0]).finite} {own if own in directions else directions[0]}"
    return MOTION_VERBS[motion][0].finite


@cache
def _meanings() -> dict[tuple[str, ...], tuple[str, str]]:
    """Each phrase that means something: captions' own before synonyms."""
    synonyms = {
        (word,): (attribute, value)
        for attribute, values in WORDS.items()
        for value, listed in values.items()
        for word in listed.split()
    }
    places = {
        (place, *article, tone): ("background", value)
        for value, tones in BACKGROUND_TONES.items()
        for tone in tones
        for place in PLACES
        for article in ((), ("the",))
    }
    return {**places, **synonyms, **phrases()}


@cache
def _longest() -> int:
    return max(len(phrase) for phrase in _meanings())


@cache
def _moving_verbs() -> dict[str, Verb]:
    usual = dict.fromkeys(MOVING_WORDS, MOVING[0])
    return usual | {form: verb for verb in MOVING for form in verb}
