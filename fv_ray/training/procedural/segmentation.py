"""A clip of the procedural world to its background and the soft mask of its object.

Works on averages over 4 x 4 pixels where the clip is that large, so that textures do not disturb it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

CELL = 4
"""Pixels of a high-resolution clip that are one pixel of its preview."""
MIN_CELL_ROWS = 32
MIN_CONTRAST = 30.0
"""Euclidean distance in RGB, of 441, that an object must keep from its background."""
OBJECT_SHARE = 0.012
"""Of all pixels: less than the smallest object covers."""
_WITHIN_FRAMES = np.zeros((3, 3, 3), dtype=bool)
_WITHIN_FRAMES[1] = True


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Where the object is in a clip of (F, h, w) cells."""

    cell: int
    """Pixels of a side of a cell, 1 or 4."""
    rows: np.ndarray
    """Colour of the background in each row, (h, 3)."""
    mask: np.ndarray
    """Share of each cell that the object covers, 0..1, (F, h, w)."""
    colour: np.ndarray
    """RGB of the object."""
    clearness: float
    """0..1: whether there is one object, in every frame, on a background that is one."""


def segment(frames_FHWC: np.ndarray) -> Segmentation:
    """Find the object; its clearness is 0 where there is none."""
    cell = CELL if frames_FHWC.shape[1] // CELL >= MIN_CELL_ROWS else 1
    clip = cell_means(frames_FHWC, cell)
    rows = np.median(clip, axis=(0, 2))
    difference = clip - rows[:, None]
    distance = np.sqrt(np.square(difference).sum(-1))
    contrast = float(np.quantile(distance, 1 - OBJECT_SHARE))
    if contrast < MIN_CONTRAST:
        return Segmentation(cell, rows, np.zeros(distance.shape), rows.mean(0), 0.0)
    colour = np.median(clip[distance > 0.75 * contrast], axis=0)
    axis = colour - rows
    share = np.einsum("fhwc,hc->fhw", difference, axis) / np.maximum(np.square(axis).sum(-1), 1.0)[:, None]
    share = np.clip(share, 0, 1)
    mask, is_found = _largest_part(share)
    return Segmentation(cell, rows, mask, colour, _clearness(share, mask, is_found, distance / contrast))


def cell_means(frames_FHWC: np.ndarray, cell: int) -> np.ndarray:
    """Means over cells, float64, (F, h, w, 3); what is left of a cell at the right and bottom is cut off."""
    num_frames, height, width, _ = frames_FHWC.shape
    h, w = height // cell, width // cell
    cut = frames_FHWC[:, : h * cell, : w * cell].astype(np.float64)
    return cut.reshape(num_frames, h, cell, w, cell, 3).mean(axis=(2, 4))


def _largest_part(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask without anything but each frame's largest connected part; and in which frames there is one."""
    labels, _ = ndimage.label(share > 0.5, structure=_WITHIN_FRAMES)
    is_kept = np.zeros(share.shape, dtype=bool)
    for frame, labels_HW in enumerate(labels):
        counts = np.bincount(labels_HW.ravel())
        counts[0] = 0
        if counts.any():
            is_kept[frame] = labels_HW == counts.argmax()
    is_found = np.asarray(is_kept.any(axis=(1, 2)))
    nearby = ndimage.binary_dilation(is_kept, structure=_WITHIN_FRAMES)
    return np.where(nearby, share, 0.0), is_found


def _clearness(share: np.ndarray, mask: np.ndarray, is_found: np.ndarray, distance: np.ndarray) -> float:
    """The product of four doubts: frames without an object, other objects, its size, an uneven background."""
    is_one = mask.sum() / max(share[share > 0.25].sum(), 1e-9)
    covered = mask.mean()
    has_a_size = np.clip((covered - 0.004) / 0.008, 0, 1) * np.clip((0.6 - covered) / 0.2, 0, 1)
    outside = distance[mask == 0]
    is_even = np.clip(1.5 - 3 * float(np.sqrt(np.square(outside).mean())), 0, 1) if outside.size else 0.0
    return float(is_found.mean() * min(is_one, 1.0) * has_a_size * is_even)
