"""Scenes to a folder of mp4 files with their captions: a data set as one would get it from elsewhere.

    FOLDER/dataset.json     what was asked for; written first
           clips/000000.mp4
           captions.csv     path, caption and every attribute; written last, so it is there when the set is complete

A run that was stopped goes on where it was. Training that needs no files draws scenes itself.
"""

import csv
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fv_ray.errors import InputError, StorageError
from fv_ray.storage import storage_errors
from fv_ray.training.procedural.captions import caption
from fv_ray.training.procedural.draws import check_seed, stable_hash
from fv_ray.training.procedural.render import PREVIEW_HEIGHT, render_clip
from fv_ray.training.procedural.scene import ATTRIBUTES, Scene, Split, combinations, draw_scene
from fv_ray.video_io import encode_mp4

COLUMNS = ("path", "caption", *ATTRIBUTES)


@dataclass(frozen=True)
class DatasetRecipe:
    """All that decides a data set's bytes.

    Raises:
        InputError: a value is not allowed.
    """

    num_clips: int
    split: Split
    seed: int
    num_frames: int
    height: int
    width: int
    preview_height: int = PREVIEW_HEIGHT
    fps: int = 8
    crf: int = 5
    """Nearly without loss; x264 also allows 0, which is lossless."""

    def __post_init__(self) -> None:
        if self.num_clips < 1:
            raise InputError(f"{self.num_clips} clips were asked for; allowed are 1 and more: ask for one")
        if self.height % 2 or self.width % 2:
            raise InputError(
                f"the clips are {self.height} x {self.width} pixels; mp4 allows even sides: give such, as 128 x 192"
            )
        check_seed(self.seed)
        combinations(self.split)
        render_clip(self.sample(0)[0], self.num_frames, self.height, self.width, preview_height=self.preview_height)

    def sample(self, index: int) -> tuple[Scene, str]:
        """The scene of one of the clips, and its caption."""
        seed = stable_hash("fv-ray/procedural/dataset", self.seed, index)
        scene = draw_scene(seed, self.split)
        return scene, caption(scene, seed)


def write_dataset(
    folder: str | Path,
    num_clips: int,
    split: Split,
    seed: int,
    num_frames: int,
    height: int,
    width: int,
    *,
    preview_height: int = PREVIEW_HEIGHT,
) -> Path:
    """Write a data set, or what is missing of it, and return its table of captions.

    Args:
        folder: a new or empty one, or one in which the same was begun.
        num_clips: how many.
        split: whose combinations of colour, shape and motion.
        seed: of the whole set; the first clips of a larger one are the same.
        num_frames: of each clip.
        height: pixels, even.
        width: pixels, even.
        preview_height: see `render_clip`.

    Raises:
        InputError: a value is not allowed.
        StorageError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    recipe = DatasetRecipe(num_clips, split, seed, num_frames, height, width, preview_height)
    _begin(folder, recipe)
    rows = [_write_clip(folder, recipe, index) for index in range(num_clips)]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write_whole(folder / "captions.csv", text.getvalue())
    return folder / "captions.csv"


def _begin(folder: Path, recipe: DatasetRecipe) -> None:
    """Make the folder, or see that the same was begun in it."""
    wanted, note = asdict(recipe), folder / "dataset.json"
    with storage_errors(folder):
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
        has_clips = any((folder / "clips").iterdir())
    if note.name in names:
        begun = _read_note(note)
        changed = [key for key in {**wanted, **begun} if begun.get(key) != wanted.get(key)]
        if changed:
            told = ", ".join(f"{key} {begun.get(key)!r} there and {wanted.get(key)!r} here" for key in changed)
            raise StorageError(f"{folder} holds another data set: {told}; give the same values or a new folder")
    elif has_clips or names != {"clips"}:
        raise StorageError(
            f"{folder} holds files that are no data set begun here; give a new folder or remove it first"
        )
    else:
        _write_whole(note, json.dumps(wanted, indent=2) + "\n")


def _read_note(note: Path) -> dict[str, object]:
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{note} cannot be read as JSON ({error}); remove the folder and begin again") from error
    if not isinstance(begun, dict):
        raise StorageError(f"{note} holds no JSON object; remove the folder and begin again")
    return begun


def _write_clip(folder: Path, recipe: DatasetRecipe, index: int) -> dict[str, str]:
    """Write one clip unless it is there, which it is whole or not at all; return its row of the table."""
    scene, text = recipe.sample(index)
    path = f"clips/{index:06d}.mp4"
    if not (folder / path).exists():
        clip = render_clip(scene, recipe.num_frames, recipe.height, recipe.width, preview_height=recipe.preview_height)
        encode_mp4([clip], folder / path, fps=recipe.fps, crf=recipe.crf)
    return {"path": path, "caption": text, **scene.attributes}


def _write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with storage_errors(path):
        staged.write_text(text, encoding="utf-8")
        os.replace(staged, path)
