"""Random choices that are the same on every machine and with every library version.

A key of words and numbers is hashed to a seed, and only `random.Random.random` is used, whose sequence Python promises
to keep; `choice` and numpy's generators give no such promise.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

from fv_ray.errors import InputError

T = TypeVar("T")


def stable_hash(*key: str | int) -> int:
    """The first 64 bits of SHA-256 over the key's parts joined by slashes."""
    digest = hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
    return int.from_bytes(digest[:8], "big")


class Draws:
    """A stream of choices that its key decides."""

    def __init__(self, *key: str | int) -> None:
        self._uniform = random.Random(stable_hash("fv-ray/procedural", *key)).random

    def choose(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[int(self._uniform() * len(options))]

    def happens(self, probability: float) -> bool:
        """True this often."""
        return self._uniform() < probability


def check_seed(seed: int) -> None:
    """Refuse what is not a seed.

    Raises:
        InputError: it is negative.
    """
    if seed < 0:
        raise InputError(f"the seed is {seed}; allowed are whole numbers from 0: give another one")
