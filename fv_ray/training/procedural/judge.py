"""A clip of the procedural world to what it shows, read from pixels by rules: the referee of generated clips.

Each attribute is the value whose ideal is nearest to what was measured; its confidence is 1 where the measurement is
the ideal, 0 where a second value is as near. Learns nothing and knows nothing of how a clip was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fv_ray.errors import InputError
from fv_ray.training.procedural.measurements import (
    Looks,
    background_distances,
    hue_distances,
    looks,
    motion_distances,
    size_distances,
    texture_distances,
)
from fv_ray.training.procedural.scene import ATTRIBUTES
from fv_ray.training.procedural.segmentation import MIN_CELL_ROWS, segment

MIN_CLEARNESS = 0.35
MIN_LIKENESS = 0.75
"""Correlation of the object's mask with the shape that it is taken for."""


@dataclass(frozen=True)
class Reading:
    """One attribute's value, and how far it stands out from the next best, 0..1."""

    value: str
    confidence: float


@dataclass(frozen=True)
class Verdict:
    """What a clip shows. `readings` is empty where it is not readable: no single object on an even background."""

    clearness: float
    """0..1: how much the clip is one of this world at all."""
    readings: Mapping[str, Reading]
    """By attribute."""

    @property
    def is_readable(self) -> bool:
        """Whether there is anything to read."""
        return bool(self.readings)

    @property
    def values(self) -> dict[str, str]:
        """The values alone, by attribute."""
        return {name: reading.value for name, reading in self.readings.items()}

    def agrees(self, attributes: Mapping[str, str]) -> dict[str, bool]:
        """Whether each attribute was read as it should be; what is not readable never agrees."""
        return {name: self.values.get(name) == value for name, value in attributes.items()}


def judge(frames_FHWC: np.ndarray) -> Verdict:
    """Read a clip, at a high resolution or its preview's; textures show at a high resolution alone.

    Args:
        frames_FHWC: uint8 RGB, (F, H, W, 3), at least 2 frames of 32 x 32 pixels.

    Raises:
        InputError: these are not such frames.
    """
    _check_frames(frames_FHWC)
    found = segment(frames_FHWC)
    if found.clearness < MIN_CLEARNESS:
        return Verdict(found.clearness, {})
    seen = looks(found)
    clearness = found.clearness * _likeness_doubt(seen)
    if clearness < MIN_CLEARNESS:
        return Verdict(clearness, {})
    distances = {
        "shape": seen.shape_distances,
        "colour": hue_distances(found.colour),
        "motion": motion_distances(seen),
        "background": background_distances(found.rows),
        "size": size_distances(seen),
        "texture": texture_distances(frames_FHWC, found),
    }
    return Verdict(clearness, {name: _nearest(distances[name], clearness) for name in ATTRIBUTES})


def _likeness_doubt(seen: Looks) -> float:
    """1 for a mask that looks like one of the shapes, 0 for one that looks like none."""
    return float(np.clip((seen.likeness - MIN_LIKENESS) / (0.95 - MIN_LIKENESS), 0, 1))


def _nearest(distances: Mapping[str, float], clearness: float) -> Reading:
    best, second = sorted(distances, key=lambda value: distances[value])[:2]
    return Reading(best, clearness * (1 - distances[best] / max(distances[second], 1e-9)))


def _check_frames(frames_FHWC: np.ndarray) -> None:
    shape = frames_FHWC.shape
    is_clip = frames_FHWC.dtype == np.uint8 and frames_FHWC.ndim == 4 and shape[3] == 3
    if not is_clip or shape[0] < 2 or min(shape[1:3]) < MIN_CELL_ROWS:
        raise InputError(
            f"the clip is {frames_FHWC.dtype} of shape {shape}; allowed are uint8 RGB frames (F, H, W, 3), 2 or more "
            f"of at least {MIN_CELL_ROWS} x {MIN_CELL_ROWS} pixels: convert or enlarge them first"
        )
