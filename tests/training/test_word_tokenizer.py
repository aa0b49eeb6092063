"""Words to indices; what is no word of the list is not there."""

import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5Config, T5EncoderModel

from fv_ray.errors import InputError, PromptTooLong, UnknownWords
from fv_ray.text_encoder import TextEncoder, open_tokenizer
from fv_ray.training.procedural.captions import caption, split_words, vocabulary
from fv_ray.training.procedural.scene import draw_scene
from fv_ray.training.word_tokenizer import make_word_tokenizer

WORDS = ("a", "ball", "red", "reddish")
TOKENIZER = make_word_tokenizer(vocabulary(), 32)


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text).input_ids
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red ball", [2, 4, 3, 1]),
        ("A RED, red-Ball!", [2, 4, 4, 3, 1]),
        ("a reddish ball; redder", [2, 5, 3, 1]),
        ("ared ball7red", [3, 4, 1]),
        ("a\nblue\tball", [2, 3, 1]),
        ("nothing known ... 42 %", [1]),
        ("", [1]),
        ("一只 red 狐狸", [4, 1]),
    ],
)
def test_known_words_alone_become_tokens(text: str, expected: list[int]) -> None:
    assert ids(make_word_tokenizer(WORDS, 8), text) == expected


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from((*vocabulary(), "fox", "7", ",", "é", "</")), max_size=9).map(" ".join)
    )
)
def test_words_are_split_as_captions_are(text: str) -> None:
    words = [vocabulary().index(word) + 2 for word in split_words(text) if word in vocabulary()]
    assert ids(TOKENIZER, text) == [*words, 1]


def test_every_word_of_every_caption_is_known_and_fits() -> None:
    for seed in range(300):
        text = caption(draw_scene(seed, "train"), seed)
        found = ids(TOKENIZER, text)
        assert len(found) == len(split_words(text)) + 1 <= 32


def test_it_opens_without_code_of_ours(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert type(again).__module__.startswith("transformers.")
    assert len(again) == len(vocabulary()) + 2
    assert (again.model_max_length, again.pad_token_id, again.eos_token_id) == (32, 0, 1)
    assert again.unk_token is None
    for text in ("A fox and a big, striped RED ball!", "nothing known", ""):
        assert ids(again, text) == ids(TOKENIZER, text)
    assert ids(open_tokenizer(tmp_path), "a red ball") == ids(TOKENIZER, "a red ball")


def test_padding_and_truncation_keep_the_end() -> None:
    tokenizer = make_word_tokenizer(WORDS, 4)
    padded = tokenizer(["a", "a red red red ball", "fox"], padding="max_length", truncation=True, max_length=4)
    assert padded.input_ids == [[2, 1, 0, 0], [2, 4, 4, 1], [1, 0, 0, 0]]


def test_only_known_words_count_as_cut() -> None:
    model = T5EncoderModel(T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    encoder = TextEncoder(make_word_tokenizer(WORDS, 4), model, max_tokens=4)
    free = "a fox runs over the red, red hill and away"
    assert [encoder.num_tokens_cut(text) for text in (free, "a red red ball", "fox")] == [0, 1, 0]
    with pytest.warns(UnknownWords):
        assert encoder.encode([free, "fox"]).shape == (2, 4, 8)
    with pytest.warns(PromptTooLong, match="5 tokens long and the text encoder reads 4"):
        encoder.encode(["a red red ball"])
    assert encoder.num_tokens_cut("a red red ball") == 1  # padding and truncation of one call are not the next one's


def test_a_prompt_is_the_same_in_every_form_of_unicode() -> None:
    model = T5EncoderModel(T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    encoder = TextEncoder(make_word_tokenizer(WORDS, 4), model, max_tokens=4)
    composed, decomposed = (unicodedata.normalize(form, "á red ball") for form in ("NFC", "NFD"))
    assert encoder.tokens([composed]).tolist() == encoder.tokens([decomposed]).tolist()
    assert encoder.unknown_words(composed) == encoder.unknown_words(decomposed) == ["á"]
    assert encoder.num_tokens_cut(f"{decomposed} red") == 0


def test_words_that_are_passed_over_are_told() -> None:
    model = T5EncoderModel(T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    encoder = TextEncoder(make_word_tokenizer(WORDS, 4), model, max_tokens=4)
    assert encoder.unknown_words("A Fox, a RED fox-ball, and an älg; 3 balls: Fox") == [
        "Fox",
        "fox",
        "and",
        "an",
        "älg",
        "balls",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["a red ball.", "3, 4!"])
    with pytest.warns(UnknownWords, match="does not know fox, runs: passed over; it reads the words of its list of 6"):
        encoder.encode(["a red fox runs"])


@pytest.mark.parametrize(
    ("words", "max_tokens", "message"),
    [
        (("red",), 1, "max_tokens is 1; it must be 2 or more"),
        ((), 8, "there are no words"),
        (("red", "Ball"), 8, "the word 'Ball' is none; words are of the letters a to z"),
        (("red", ""), 8, "the word '' is none"),
        (("r.d",), 8, "the word 'r.d' is none"),
        (("red", "ball", "red"), 8, "the word 'red' is there twice"),
    ],
)
def test_words_that_cannot_be(words: tuple[str, ...], max_tokens: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_word_tokenizer(words, max_tokens)
