import pytest
from hypothesis import given
from hypothesis import strategies as st

from fv_ray.training.procedural.captions import parse, vocabulary
from fv_ray.training.procedural.rewriting import is_caption, rewrite
from fv_ray.training.procedural.scene import ATTRIBUTES, split_of


@given(st.text(max_size=200), st.integers(0, 2**63 - 1))
def test_any_prompt_becomes_a_full_caption_in_words_that_the_model_knows(prompt: str, seed: int) -> None:
    told = rewrite(prompt, seed)
    assert parse(told.caption) == {**told.said, **told.chosen}
    assert {*told.said, *told.chosen} == set(ATTRIBUTES)
    assert is_caption(told.caption)
    assert told == rewrite(prompt, seed)


@given(st.lists(st.sampled_from(vocabulary()), max_size=12), st.integers(0, 99))
def test_what_the_captions_grammar_reads_in_a_prompt_is_kept(words: list[str], seed: int) -> None:
    prompt = " ".join(words)
    told = rewrite(prompt, seed)
    silent = {"texture": "plain", "motion": "still"}
    said = {name: value for name, value in parse(prompt).items() if silent.get(name) != value}
    assert {name: parse(told.caption)[name] for name in said} == said


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        (
            "tiny dotted hoop drifts left on a sandy ground, aqua",
            "a tiny dotted aqua hoop drifts left on a sandy ground",
        ),
        ("a large plain blue box is static on black", "a large plain blue box is static on a dark background"),
        ("SMALL SMOOTH RED BALL rolling up, gray scene", "a small smooth red ball rolls up on a gray scene"),
    ],
)
def test_the_users_own_words_are_kept(prompt: str, caption: str) -> None:
    assert rewrite(prompt, 0).caption == caption


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a coin spins at night", {"shape": "circle", "motion": "orbit", "background": "dark"}),
        ("an enormous ruby cube", {"shape": "square", "colour": "red", "size": "large"}),
        ("a balloon rising in the snow", {"shape": "circle", "motion": "up", "background": "light"}),
    ],
)
def test_synonyms_are_read_and_told(prompt: str, said: dict[str, str]) -> None:
    told = rewrite(prompt, 0)
    assert told.said == said
    assert "read as: " in told.notes[0]


def test_what_cannot_be_shown_is_named() -> None:
    told = rewrite("two brown foxes and a red star beside a blue square, 狐狸", 3)
    assert told.said == {"shape": "star", "colour": "red"}
    assert told.unused == ("two", "brown", "foxes", "beside", "blue", "square", "狐狸")
    nothing = rewrite("a fox", 3)
    assert nothing.notes[-2:] == ("not used: fox", "the prompt names nothing that this model knows")


def test_a_prompt_and_a_seed_decide_what_is_chosen() -> None:
    captions = {rewrite("a red ball", seed).caption for seed in range(50)}
    assert len(captions) > 20
    assert rewrite("a  Red ball", 1).caption == rewrite("a red ball", 1).caption


@pytest.mark.parametrize("seed", range(20))
def test_what_is_chosen_was_trained_and_moves_where_a_word_says_so(seed: int) -> None:
    told = rewrite("a star flies", seed)
    assert told.chosen["motion"] in {"left", "right", "up", "down"}
    assert " flies " in told.caption
    scene = {**told.said, **told.chosen}
    assert split_of(scene["colour"], scene["shape"], scene["motion"]) == "train"


def test_a_long_list_of_unused_words_is_cut_and_counted() -> None:
    assert rewrite(" ".join(f"w{chr(97 + n)}" for n in range(26)), 0).notes[1].endswith("wj and 16 more")


def test_a_word_of_the_captions_goes_before_an_everyday_one() -> None:
    told = rewrite("a round hoop", 0)
    assert told.said["shape"] == "ring"
    assert told.unused == ("round",)
    assert told.read_as == {}
