"""What a clip shows, as a value; how scenes are drawn, and which of them are never trained on.

Knows no pixels. Lengths are in units of the picture's height, so a scene is the same clip at every resolution.
"""

from dataclasses import dataclass, fields
from functools import cache
from itertools import product
from typing import Literal, get_args

from fv_ray.errors import InputError
from fv_ray.training.procedural.draws import Draws, check_seed, stable_hash

Shape = Literal["circle", "square", "triangle", "ring", "star", "cross"]
Colour = Literal["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"]
Motion = Literal["left", "right", "up", "down", "still", "grow", "shrink", "orbit"]
Background = Literal["dark", "grey", "light", "sand", "gradient"]
Size = Literal["small", "large"]
Texture = Literal["plain", "stripes", "dots", "checks"]
Split = Literal["train", "held_out"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
MOTIONS: tuple[Motion, ...] = get_args(Motion)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
SIZES: tuple[Size, ...] = get_args(Size)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
SPLITS: tuple[Split, ...] = get_args(Split)

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "size": SIZES,
    "texture": TEXTURES,
}
"""Everything that words can say of a scene, with the values allowed."""

OFFSETS = (-1, 0, 1)
PHASES = (0, 1, 2, 3)
HELD_OUT_SHARE = 8
"""One of so many combinations of colour, shape and motion is held out."""

Combination = tuple[Colour, Shape, Motion]


@dataclass(frozen=True)
class Scene:
    """One object on a background.

    Where it is has few values on purpose: a small model learns motion from scenes of low entropy and not from free
    positions.

    Raises:
        InputError: a value is not one of the allowed.
    """

    shape: Shape
    colour: Colour
    motion: Motion
    background: Background
    size: Size
    texture: Texture
    offset_x: int = 0
    """-1, 0 or 1: the path's middle left of the picture's, on it or right of it."""
    offset_y: int = 0
    """-1, 0 or 1: above, on, below."""
    phase: int = 0
    """Quarter of the turn in which an orbit starts, 0 to 3; other motions do not use it."""

    def __post_init__(self) -> None:
        allowed = {**ATTRIBUTES, "offset_x": OFFSETS, "offset_y": OFFSETS, "phase": PHASES}
        for field in fields(self):
            value = getattr(self, field.name)
            if value not in allowed[field.name]:
                raise InputError(
                    f"the scene's {field.name} is {value!r}; allowed are "
                    f"{', '.join(str(option) for option in allowed[field.name])}: choose one of these"
                )

    @property
    def attributes(self) -> dict[str, str]:
        """What words can say of it."""
        return {name: getattr(self, name) for name in ATTRIBUTES}


def split_of(colour: Colour, shape: Shape, motion: Motion) -> Split:
    """The split to which a combination belongs, for ever: a hash of its name decides."""
    number = stable_hash("fv-ray/procedural/held_out", colour, shape, motion)
    return "held_out" if number % HELD_OUT_SHARE == 0 else "train"


@cache
def combinations(split: Split) -> tuple[Combination, ...]:
    """All combinations of colour, shape and motion that belong to a split.

    Raises:
        InputError: there is no such split.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}; allowed are {', '.join(SPLITS)}: choose one of these")
    return tuple(each for each in product(COLOURS, SHAPES, MOTIONS) if split_of(*each) == split)


def draw_scene(seed: int, split: Split = "train") -> Scene:
    """The scene that a seed means in a split; the same on every machine.

    Raises:
        InputError: the seed is negative, or there is no such split.
    """
    check_seed(seed)
    draws = Draws("scene", split, seed)
    colour, shape, motion = draws.choose(combinations(split))
    return Scene(
        shape=shape,
        colour=colour,
        motion=motion,
        background=draws.choose(BACKGROUNDS),
        size=draws.choose(SIZES),
        texture=draws.choose(TEXTURES),
        offset_x=draws.choose(OFFSETS),
        offset_y=draws.choose(OFFSETS),
        phase=draws.choose(PHASES) if motion == "orbit" else 0,
    )
