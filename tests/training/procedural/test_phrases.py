"""Phrases: each means one thing, and every value can be said."""

from fv_ray.training.procedural import phrases
from fv_ray.training.procedural.captions import parse
from fv_ray.training.procedural.scene import ATTRIBUTES

TABLES = {
    "shape": [phrases.SHAPE_NOUNS],
    "colour": [phrases.COLOUR_WORDS],
    "size": [phrases.SIZE_ADJECTIVES],
    "texture": [phrases.TEXTURE_ADJECTIVES, phrases.TEXTURE_TAILS],
    "background": [phrases.BACKGROUND_TONES],
}


def test_every_value_has_several_words() -> None:
    for attribute, tables in TABLES.items():
        for table in tables:
            assert tuple(table) == ATTRIBUTES[attribute]
            assert all(len(words) >= 2 for words in table.values())
    assert tuple(phrases.MOTION_VERBS) == ATTRIBUTES["motion"]
    for motion, verbs in phrases.MOTION_VERBS.items():
        assert len(verbs) + len(phrases.DIRECTIONS.get(motion, ())) >= 5


def test_no_phrase_has_two_meanings() -> None:
    for attribute, tables in TABLES.items():
        for value, texts in ((value, texts) for table in tables for value, texts in table.items()):
            for text in texts:
                said = parse(f"{text} background" if attribute == "background" else text)
                assert said.pop(attribute) == value, text
                assert said.items() <= {"texture": "plain", "motion": "still"}.items(), text
    for motion, directions in phrases.DIRECTIONS.items():
        assert {parse(f"moves {direction}")["motion"] for direction in directions} == {motion}
    for motion, verbs in phrases.MOTION_VERBS.items():
        assert {parse(form)["motion"] for verb in verbs for form in verb} <= {motion}
