import pytest

from fv_ray.prompts.facts import lost_facts


@pytest.mark.parametrize(
    ("prompt", "caption", "lost"),
    [
        ("three red kites", "Three bright red kites fly.", []),
        ("3 red kites", "Three bright red kites fly.", []),
        ("three red kites", "Two bright red kites fly.", ["3"]),
        ("twelve drummers", "A dozen drummers march.", []),
        ("a red kite", "A bright kite flies in a blue sky.", ["red"]),
        ("a gray cat", "A grey cat sleeps.", []),
        ("one dog", "A dog runs.", []),
        ("Anna walks through Paris", "A woman walks through Paris.", []),  # the first word may be any
        ("my aunt Anna in Paris", "A woman walks through Paris.", ["Anna"]),
        ("Anna's dog. It barks at Bob's cat.", "A dog barks at Bob, and a cat hides.", []),
        ("A MAN RUNS THROUGH NEW YORK", "A man runs through a city.", []),  # capitals say nothing here
        ('a sign that says "OPEN LATE"', 'A neon sign says "Open late".', []),
        ('a sign that says "OPEN LATE"', "A neon sign glows.", ["OPEN LATE"]),
        ("the R2D2 robot", "A robot rolls.", ["R2D2"]),
    ],
)
def test_what_a_caption_does_not_say(prompt: str, caption: str, lost: list[str]) -> None:
    assert lost_facts(prompt, caption, is_english=True) == lost


def test_of_other_languages_figures_and_quoted_words_are_looked_for() -> None:
    prompt = 'Zwei rote Hunde laufen 3 Mal um das Schild "HALT"'
    assert lost_facts(prompt, "Two red dogs run.", is_english=False) == ["HALT", "3"]
    assert lost_facts(prompt, 'Two red dogs run three times around the sign "Halt".', is_english=False) == []
