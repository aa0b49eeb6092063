"""A scene to a sentence, and a sentence back to what it says of a scene.

The rules that make words learnable: colour and shape are always said; a texture is always said unless it is plain, and
a motion unless the object is still, so silence on them means plain and still. Size and background are sometimes left
out: then they can be anything.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

from fv_ray.training.procedural.draws import Draws, check_seed
from fv_ray.training.procedural.phrases import (
    BACKGROUND_NOUNS,
    BACKGROUND_PREPOSITIONS,
    BACKGROUND_TONES,
    COLOUR_WORDS,
    DIRECTIONS,
    MOTION_VERBS,
    MOVING,
    OPENINGS,
    ORDERS,
    ORDERS_WITH_PLACE,
    ORDERS_WITH_PLACE_WITHOUT_MOTION,
    ORDERS_WITHOUT_MOTION,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    TEXTURE_ADJECTIVES,
    TEXTURE_TAILS,
    Verb,
)
from fv_ray.training.procedural.scene import Scene

UNSAID = {"texture": "plain", "motion": "still"}
"""What a caption means that does not say it."""
SIZE_IS_SAID = 0.8
BACKGROUND_IS_SAID = 0.85
PLAIN_IS_SAID = 0.4
STILL_IS_SAID = 0.8
USUAL_WORD = 0.4
"""How often the usual word is taken without looking at its synonyms."""


def caption(scene: Scene, seed: int) -> str:
    """One of the sentences that describe a scene; a seed gives another one.

    Raises:
        InputError: the seed is negative.
    """
    check_seed(seed)
    draws = Draws("caption", seed, *scene.attributes.values())
    has_motion = scene.motion != "still" or draws.happens(STILL_IS_SAID)
    has_background = draws.happens(BACKGROUND_IS_SAID)
    verb = _verb(scene.motion, draws) if has_motion else None
    place = _place(scene.background, draws) if has_background else ""
    text = _sentence(_object(scene, draws), verb, place, draws)
    return re.sub(r"\s+([,:;])", r"\1", " ".join(text.split()))


def parse(text: str) -> dict[str, str]:
    """What a sentence says of a scene, by attribute, with what its silence means (`UNSAID`).

    Words of no phrase are passed over, so any sentence can be read. Of two values the first is taken.
    """
    words = split_words(text)
    said: dict[str, str] = {}
    place = 0
    while place < len(words):
        length = next((n for n in range(_longest_phrase(), 0, -1) if tuple(words[place : place + n]) in phrases()), 0)
        if length:
            attribute, value = phrases()[tuple(words[place : place + length])]
            said.setdefault(attribute, value)
        place += max(length, 1)
    return UNSAID | said


@cache
def phrases() -> dict[tuple[str, ...], tuple[str, str]]:
    """Each phrase that means something, as words, with its attribute and value."""
    return {tuple(text.split()): (attribute, value) for attribute, value, text in _meanings()}


@cache
def vocabulary() -> tuple[str, ...]:
    """All words that captions are made of, sorted."""
    found = {word for phrase in phrases() for word in phrase}
    orders = (*ORDERS, *ORDERS_WITH_PLACE, *ORDERS_WITHOUT_MOTION, *ORDERS_WITH_PLACE_WITHOUT_MOTION)
    frames = (re.sub(r"\{.*?\}", " ", order) for order in orders)
    verbs = (form for verb in MOVING for form in verb)
    for text in (*frames, *verbs, *OPENINGS, *BACKGROUND_PREPOSITIONS, *_JOINING_WORDS):
        found.update(split_words(text))
    return tuple(sorted(found))


def split_words(text: str) -> list[str]:
    """The words of a text as the vocabulary has them: lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


_JOINING_WORDS = ("a", "an", "that", "is", "and", "in")  # of `_object`


def _usual(options: Sequence[str], draws: Draws) -> str:
    return options[0] if draws.happens(USUAL_WORD) else draws.choose(options)


def _object(scene: Scene, draws: Draws) -> str:
    """The object with its article: "a large striped red circle"."""
    size = _usual(SIZE_ADJECTIVES[scene.size], draws) if draws.happens(SIZE_IS_SAID) else ""
    texture, tail = _texture(scene, draws)
    colour, noun = _usual(COLOUR_WORDS[scene.colour], draws), _usual(SHAPE_NOUNS[scene.shape], draws)
    order = draws.choose(("size first", "size first", "texture first", "colour after", "all after"))
    if order == "texture first":
        phrase = f"{texture} {size} {colour} {noun} {tail}"
    elif order == "colour after":
        phrase = f"{size} {texture} {noun} in {colour} {tail}"
    elif order == "all after":
        adjectives = [word for word in (size, texture, colour) if word]
        listed = " and ".join([", ".join(adjectives[:-1]), adjectives[-1]] if adjectives[:-1] else adjectives)
        phrase = f"{noun} that is {listed} {tail}"
    else:
        phrase = f"{size} {texture} {colour} {noun} {tail}"
    phrase = " ".join(phrase.split())
    return f"{'an' if phrase[0] in 'aeio' else 'a'} {phrase}"


def _texture(scene: Scene, draws: Draws) -> tuple[str, str]:
    """An adjective or what comes after the noun; neither where the texture is left out."""
    if scene.texture == "plain" and not draws.happens(PLAIN_IS_SAID):
        return "", ""
    if draws.happens(0.7):
        return _usual(TEXTURE_ADJECTIVES[scene.texture], draws), ""
    return "", _usual(TEXTURE_TAILS[scene.texture], draws)


def _verb(motion: str, draws: Draws) -> Verb:
    """The motion in both its forms: "drifts left", "drifting left"."""
    verbs = MOTION_VERBS[motion]
    if motion in DIRECTIONS and (not verbs or draws.happens(0.6)):
        verb = MOVING[0] if draws.happens(USUAL_WORD) else draws.choose(MOVING)
        direction = _usual(DIRECTIONS[motion], draws)
        return Verb(f"{verb.finite} {direction}", f"{verb.participle} {direction}")
    return draws.choose(verbs)


def _place(background: str, draws: Draws) -> str:
    """The background without its preposition: "dark backdrop"."""
    return f"{_usual(BACKGROUND_TONES[background], draws)} {_usual(BACKGROUND_NOUNS, draws)}"


def _sentence(thing: str, verb: Verb | None, place: str, draws: Draws) -> str:
    orders = [*(ORDERS if verb else ORDERS_WITHOUT_MOTION)]
    if place:
        orders += ORDERS_WITH_PLACE if verb else ORDERS_WITH_PLACE_WITHOUT_MOTION
    finite, participle = verb or ("", "")
    return draws.choose(orders).format(
        thing=thing,
        finite=finite,
        participle=participle,
        where=f"{_usual(BACKGROUND_PREPOSITIONS, draws)} a {place}" if place else "",
        tone=place.partition(" ")[0],
        opening=draws.choose(OPENINGS),
    )


@cache
def _longest_phrase() -> int:
    return max(len(phrase) for phrase in phrases())


def _meanings() -> Iterator[tuple[str, str, str]]:
    """Attribute, value and text of each phrase."""
    tables = (
        ("shape", SHAPE_NOUNS),
        ("colour", COLOUR_WORDS),
        ("size", SIZE_ADJECTIVES),
        ("texture", TEXTURE_ADJECTIVES),
        ("texture", TEXTURE_TAILS),
        ("motion", DIRECTIONS),
    )
    for attribute, table in tables:
        for value, texts in table.items():
            yield from ((attribute, value, text) for text in texts)
    for value, verbs in MOTION_VERBS.items():
        yield from (("motion", value, form) for verb in verbs for form in verb)
    for value, tones in BACKGROUND_TONES.items():
        for tone in tones:
            yield from (("background", value, f"{tone} {noun}") for noun in BACKGROUND_NOUNS)
            yield "background", value, f"background is {tone}"
