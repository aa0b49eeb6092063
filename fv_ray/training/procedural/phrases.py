"""The words of the caption grammar: every way of saying a value, the usual one first.

Data only. A phrase means one value wherever it stands, so that a caption can be read back by looking for phrases, the
longest first.
"""

from typing import NamedTuple

SHAPE_NOUNS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc", "disk", "ball"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle", "wedge", "pyramid"),
    "ring": ("ring", "hoop", "donut"),
    "star": ("star", "five pointed star", "starlet"),
    "cross": ("cross", "plus", "plus sign"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine", "amber"),
    "yellow": ("yellow", "golden", "lemon"),
    "green": ("green", "emerald", "lime"),
    "cyan": ("cyan", "turquoise", "teal", "aqua"),
    "blue": ("blue", "cobalt", "azure"),
    "purple": ("purple", "violet", "indigo"),
    "pink": ("pink", "magenta", "rose"),
}
SIZE_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny", "mini"),
    "large": ("large", "big", "huge", "giant"),
}
TEXTURE_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid", "smooth", "uniform"),
    "stripes": ("striped", "stripy", "banded", "lined"),
    "dots": ("dotted", "spotted", "speckled", "polka dot"),
    "checks": ("checked", "checkered", "chequered", "chessboard"),
}
TEXTURE_TAILS: dict[str, tuple[str, ...]] = {
    "plain": ("with no pattern", "without texture"),
    "stripes": ("with stripes", "with thin stripes", "covered in stripes", "with lines"),
    "dots": ("with dots", "with spots", "covered in dots", "with fine dots"),
    "checks": ("with checks", "covered in checks", "with a checkerboard pattern", "with a fine grid"),
}
BACKGROUND_TONES: dict[str, tuple[str, ...]] = {
    "dark": ("dark", "black"),
    "grey": ("grey", "gray", "neutral"),
    "light": ("light", "white", "bright", "pale"),
    "sand": ("sand", "sandy", "beige", "tan"),
    "gradient": ("gradient", "shaded", "fading", "graded"),
}
BACKGROUND_NOUNS = ("background", "backdrop", "ground", "scene")
BACKGROUND_PREPOSITIONS = ("on", "over", "against", "across", "before", "in front of")


class Verb(NamedTuple):
    """Both forms of a verb: "a ball rolls left", "a ball rolling left"."""

    finite: str
    participle: str


MOVING = (
    Verb("moves", "moving"),
    Verb("drifts", "drifting"),
    Verb("slides", "sliding"),
    Verb("glides", "gliding"),
    Verb("travels", "travelling"),
    Verb("floats", "floating"),
    Verb("goes", "going"),
    Verb("rolls", "rolling"),
    Verb("flies", "flying"),
)
"""Say nothing of where to; one of `DIRECTIONS` follows."""

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "left": ("left", "to the left", "leftward", "leftwards", "toward the left", "from right to left"),
    "right": ("right", "to the right", "rightward", "rightwards", "toward the right", "from left to right"),
    "up": ("up", "upward", "upwards", "to the top", "toward the top", "from bottom to top"),
    "down": ("down", "downward", "downwards", "to the bottom", "toward the bottom", "from top to bottom"),
    "orbit": ("in a circle", "in circles", "around in a circle", "round and round", "along a circular path"),
}
MOTION_VERBS: dict[str, tuple[Verb, ...]] = {
    "left": (),
    "right": (),
    "up": (Verb("rises", "rising"), Verb("climbs", "climbing"), Verb("ascends", "ascending")),
    "down": (
        Verb("falls", "falling"),
        Verb("sinks", "sinking"),
        Verb("drops", "dropping"),
        Verb("descends", "descending"),
    ),
    "still": (
        Verb("stays still", "staying still"),
        Verb("does not move", "not moving"),
        Verb("rests", "resting"),
        Verb("stands still", "standing still"),
        Verb("is motionless", "motionless"),
        Verb("is static", "static"),
    ),
    "grow": (
        Verb("grows", "growing"),
        Verb("gets bigger", "getting bigger"),
        Verb("expands", "expanding"),
        Verb("swells", "swelling"),
        Verb("becomes larger", "becoming larger"),
    ),
    "shrink": (
        Verb("shrinks", "shrinking"),
        Verb("gets smaller", "getting smaller"),
        Verb("contracts", "contracting"),
        Verb("dwindles", "dwindling"),
        Verb("becomes smaller", "becoming smaller"),
    ),
    "orbit": (Verb("orbits", "orbiting"), Verb("loops", "looping"), Verb("circles around", "circling around")),
}
"""Say the motion by themselves."""

OPENINGS = ("a video of", "a clip of", "a short film of", "there is", "we see", "here is")

ORDERS: tuple[str, ...] = (
    "{thing} {finite} {where}",
    "{thing} {participle} {where}",
    "{thing} which {finite} {where}",
    "{opening} {thing} {participle} {where}",
    "{opening} {thing} {where} while it {finite}",
)
"""Sentences: the object with its article, the motion as finite verb or participle, and where, which may be empty."""
ORDERS_WITH_PLACE: tuple[str, ...] = (
    "{where}, {thing} {finite}",
    "{where}, {thing} is {participle}",
    "{thing} {where} {finite}",
    "{participle} {where}, {thing}",
    "{thing} {finite} and the background is {tone}",
)
"""More of them, for captions that say the background."""
ORDERS_WITHOUT_MOTION: tuple[str, ...] = ("{thing} {where}", "{opening} {thing} {where}")
"""For captions of an object that is still and not said to be."""
ORDERS_WITH_PLACE_WITHOUT_MOTION: tuple[str, ...] = ("{where}, {thing}",)
"""More of those, where the background is said."""
