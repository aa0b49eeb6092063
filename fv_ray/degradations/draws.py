"""What a degradation leaves to chance: parameters that walk over the frames of a clip, and choices.

Every draw comes from a `torch.Generator` on the CPU that the caller gives, so that a seed repeats a degradation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fv_ray.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Walk:
    """A parameter that starts anywhere in its range and moves a little from frame to frame."""

    low: float
    high: float
    step: float = 0.0
    """The most by which two neighbouring frames differ; 0 keeps one value for the whole clip."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise InputError(
                f"the range is {self.low} to {self.high}; allowed are finite ends in rising order: swap or correct them"
            )
        if not (math.isfinite(self.step) and self.step >= 0):
            raise InputError(f"the step is {self.step}; allowed are finite numbers from 0: 0 keeps the value constant")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One of several options, each with its probability."""

    options: tuple[T, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.options or len(self.options) != len(self.probabilities):
            raise InputError(
                f"{len(self.options)} options have {len(self.probabilities)} probabilities; allowed are one or more "
                "options with one each: give as many of both"
            )
        if min(self.probabilities) < 0 or not math.isclose(sum(self.probabilities), 1):
            raise InputError(
                f"the probabilities {self.probabilities} sum to {sum(self.probabilities):g}; allowed are numbers "
                "from 0 that sum to 1: divide them by their sum"
            )


def evenly(*options: T) -> Choice[T]:
    """Each of the options as likely as the others."""
    return Choice(options, (1 / max(len(options), 1),) * len(options))


def check_probability(probability: float) -> None:
    """Refuse what is no probability.

    Raises:
        InputError: it is below 0 or above 1.
    """
    if not 0 <= probability <= 1:
        raise InputError(f"the probability is {probability}; allowed are 0 (never) to 1 (always): give one of those")


def check_within(name: str, walk: Walk, low: float, high: float = math.inf) -> None:
    """Refuse a walk that can leave what its parameter means.

    Raises:
        InputError: the range of `name` reaches beyond low..high.
    """
    if walk.low < low or walk.high > high:
        raise InputError(
            f"the range of {name} is {walk.low:g} to {walk.high:g}; allowed are numbers from {low:g} to {high:g}: "
            "narrow the range"
        )


def draw_walk(walk: Walk, num_frames: int, generator: torch.Generator) -> Tensor:
    """One value a frame, float64, (F,).

    The first is uniform in the range; each of the others is its predecessor moved by U(-step, step), held in the range.
    """
    first, *others = _uniform(num_frames, generator)
    values = [walk.low + (walk.high - walk.low) * first]
    for other in others:
        values.append(min(max(values[-1] + walk.step * (2 * other - 1), walk.low), walk.high))
    return torch.tensor(values, dtype=torch.float64)


def draw_choice(choice: Choice[T], generator: torch.Generator) -> T:
    """One of the options."""
    weights = torch.tensor(choice.probabilities, dtype=torch.float64)
    return choice.options[int(torch.multinomial(weights, 1, generator=generator))]


def draw_chance(probability: float, generator: torch.Generator) -> bool:
    """True with the given probability: never at 0, always at 1."""
    return _uniform(1, generator)[0] < probability


def draw_order(length: int, generator: torch.Generator) -> Sequence[int]:
    """A permutation of 0 .. length - 1."""
    return torch.randperm(length, generator=generator).tolist()


def draw_generator(generator: torch.Generator) -> torch.Generator:
    """A generator of its own for one part, at the cost of one draw.

    However much the part draws, what comes after it stays the same.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.Generator("cpu").manual_seed(seed)


def _uniform(length: int, generator: torch.Generator) -> list[float]:
    return torch.rand(length, generator=generator, dtype=torch.float64).tolist()
