"""Everyday words for what the procedural world can show, where its captions have other words. Data only.

A word means one value. What the world has no value for, such as brown or a fox, is left out on purpose.
"""

WORDS: dict[str, dict[str, str]] = {
    "shape": {
        "circle": "sphere globe orb coin sun moon planet bubble balloon marble bead button plate pebble dot round",
        "square": "cube tile brick crate dice window frame",
        "triangle": "cone tent arrowhead triangular",
        "ring": "doughnut tyre tire wheel bagel bracelet halo",
        "star": "starfish stars",
        "cross": "x crucifix",
    },
    "colour": {
        "red": "maroon ruby cherry burgundy vermilion",
        "orange": "apricot peach coral rust",
        "yellow": "gold mustard",
        "green": "olive mint jade",
        "cyan": "aquamarine",
        "blue": "navy sapphire ultramarine",
        "purple": "lilac lavender mauve plum",
        "pink": "fuchsia salmon",
    },
    "motion": {
        "left": "leftwards",
        "right": "rightwards",
        "up": "rise rising climb lift lifts lifting jump jumps jumping hop hops hopping bounce bounces bouncing soars "
        "soaring launches launching",
        "down": "fall drop sink tumbles tumbling plunges plunging dives diving lands landing descend",
        "still": "still stationary frozen unmoving sits sitting stands lies lying waits waiting hangs hanging",
        "grow": "grow inflates inflating enlarges enlarging approaches approaching blooms blooming",
        "shrink": "shrink deflates deflating recedes receding vanishes vanishing",
        "orbit": "orbit loop spins spinning spin rotates rotating revolves revolving turns turning whirls whirling "
        "twirls twirling",
    },
    "background": {
        "dark": "night midnight space darkness",
        "grey": "fog foggy concrete stone",
        "light": "snow snowy cloudy",
        "sand": "desert beach dunes",
        "gradient": "sunset sunrise dusk dawn twilight",
    },
    "size": {
        "small": "miniature minute petite wee",
        "large": "enormous massive gigantic vast great",
    },
    "texture": {
        "plain": "untextured plain",
        "stripes": "stripes stripe lines zebra",
        "dots": "dots spots freckled",
        "checks": "checks checkerboard tartan plaid grid",
    },
}
"""By attribute and value."""

_MOVING = "move moving moves run runs running walk walks walking drive drives driving rush rushes rushing"
MOVING = frozenset(_MOVING.split())
"""Say that something moves, and not where to."""

_FILLERS = """
    a across against an and are as at before by for from front has have having in into is it its of on onto or over that
    the then there this to under very which while who with video clip film shot scene image picture show shows showing
    see make please one single background backdrop ground
"""
FILLERS = frozenset(_FILLERS.split())
"""Nothing is lost with them."""
