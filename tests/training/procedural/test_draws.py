"""Draws: a key decides them, and they are even."""

from collections import Counter

from fv_ray.training.procedural.draws import Draws, stable_hash


def test_a_key_decides_the_choices() -> None:
    letters = "abcdefgh"
    first, again, other = (Draws("here", seed) for seed in (1, 1, 2))
    chosen = [first.choose(letters) for _ in range(20)]
    assert chosen == [again.choose(letters) for _ in range(20)]
    assert chosen != [other.choose(letters) for _ in range(20)]


def test_the_hash_never_changes() -> None:
    assert stable_hash("a", 1) == int.from_bytes(bytes.fromhex("773232abe9343f0e"), "big")


def test_choices_are_even_and_probabilities_kept() -> None:
    draws = Draws("even")
    counts = Counter(draws.choose("abcd") for _ in range(4000))
    assert all(900 < counts[letter] < 1100 for letter in "abcd")
    assert 1100 < sum(draws.happens(0.3) for _ in range(4000)) < 1300
