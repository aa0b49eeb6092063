"""The example runs, its picture holds every tile, and what it calls degraded is."""

from pathlib import Path

import numpy as np
from PIL import Image

from examples.show_degradations import CAPTION, COLUMNS, GAP, SIDE, TILES, main

ROOT = Path(__file__).parents[2]
MAX_BYTES = 400_000


def tiles(picture: Path) -> dict[str, np.ndarray]:
    sheet = np.asarray(Image.open(picture).convert("RGB")).astype(float)
    places = [
        (place // COLUMNS * (SIDE + CAPTION) + CAPTION, place % COLUMNS * (SIDE + GAP)) for place in range(len(TILES))
    ]
    return {
        caption: sheet[top : top + SIDE, left : left + SIDE] for caption, (top, left) in zip(TILES, places, strict=True)
    }


def detail(tile: np.ndarray) -> float:
    return float(np.abs(np.diff(tile, axis=1)).mean())


def test_it_draws_every_degradation(tmp_path: Path) -> None:
    main(str(tmp_path / "picture.png"))
    drawn = tiles(tmp_path / "picture.png")
    original = drawn.pop("original")
    assert all(np.abs(tile - original).mean() > 1 for tile in drawn.values())
    assert detail(drawn["weak, 1/8"]) < detail(drawn["weak, 1/4"]) < detail(original)
    assert detail(drawn["strong"]) < 0.5 * detail(original)
    assert detail(drawn["Gaussian noise, sigma 20"]) > detail(original)
    shown = tiles(ROOT / "docs" / "images" / "degradations.png")
    assert all(np.abs(shown[caption] - tile).mean() < 4 for caption, tile in drawn.items())  # other codec builds differ


def test_the_picture_in_the_documents_is_small() -> None:
    assert (ROOT / "docs" / "images" / "degradations.png").stat().st_size <= MAX_BYTES
