"""Captions: what a sentence says is what the scene is, in a closed vocabulary."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fv_ray.errors import InputError
from fv_ray.training.procedural.captions import caption, parse, split_words, vocabulary
from fv_ray.training.procedural.scene import ATTRIBUTES, Scene, draw_scene

NUM_SCENES = 4000


@pytest.fixture(scope="module")
def samples() -> list[tuple[Scene, str]]:
    return [(scene, caption(scene, seed)) for seed in range(NUM_SCENES) for scene in [draw_scene(seed)]]


def test_what_a_caption_says_is_what_the_scene_is(samples: list[tuple[Scene, str]]) -> None:
    for scene, text in samples:
        said = parse(text)
        assert {"shape", "colour", "motion", "texture"} <= said.keys(), text
        assert said.items() <= scene.attributes.items(), text


def test_the_vocabulary_is_closed_and_has_no_idle_word(samples: list[tuple[Scene, str]]) -> None:
    words = {word for _, text in samples for word in split_words(text)}
    assert words == set(vocabulary())
    assert 150 <= len(words) <= 250
    assert list(vocabulary()) == sorted(words)


def test_captions_are_plain_short_sentences(samples: list[tuple[Scene, str]]) -> None:
    assert max(len(split_words(text)) for _, text in samples) <= 26
    for _, text in samples:
        assert text == " ".join(text.split())
        assert text == text.lower()
        assert not any(wrong in text for wrong in (" a a", " an a ", " ,", "is is", "{", " a o", " a e", " a i"))


def test_captions_are_rich(samples: list[tuple[Scene, str]]) -> None:
    scene = samples[0][0]
    assert len({caption(scene, seed) for seed in range(300)}) > 250
    starts = Counter(split_words(text)[0] for _, text in samples)
    assert len(starts) > 20
    assert starts.most_common(1)[0][1] < 0.7 * NUM_SCENES


def test_size_and_background_alone_are_left_open(samples: list[tuple[Scene, str]]) -> None:
    said = defaultdict(int)
    for _, text in samples:
        for attribute in parse(text):
            said[attribute] += 1
    shares = {attribute: said[attribute] / NUM_SCENES for attribute in ATTRIBUTES}
    assert {name for name, share in shares.items() if share == 1} == {"shape", "colour", "motion", "texture"}
    assert shares["size"] == pytest.approx(0.8, abs=0.03)
    assert shares["background"] == pytest.approx(0.85, abs=0.03)


def test_silence_is_heard_too() -> None:
    plain = [caption(Scene("star", "red", "still", "dark", "small", "plain"), seed) for seed in range(200)]
    texture_words = {"plain", "solid", "smooth", "uniform", "pattern", "texture"}
    shares = sum(bool(texture_words & set(split_words(text))) for text in plain) / len(plain)
    assert 0.3 < shares < 0.5


def test_a_seed_means_one_caption() -> None:
    scene = draw_scene(5)
    assert caption(scene, 7) == caption(scene, 7)
    with pytest.raises(InputError, match="seed is -3; allowed"):
        caption(scene, -3)


def test_a_sentence_of_a_person_is_read() -> None:
    said = parse("A BIG red ball, rolling from left to right quickly over a really dark background!")
    assert said == {
        "size": "large",
        "colour": "red",
        "shape": "circle",
        "motion": "right",
        "background": "dark",
        "texture": "plain",
    }


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert {"texture", "motion"} <= parse(text).keys() <= ATTRIBUTES.keys()
