"""Data sets as files: whole or resumed, never mixed."""

import csv
import json
from pathlib import Path

import pytest

from fv_ray.errors import InputError, StorageError
from fv_ray.training.procedural import dataset
from fv_ray.training.procedural.captions import parse
from fv_ray.training.procedural.dataset import COLUMNS, DatasetRecipe, write_dataset
from fv_ray.training.procedural.judge import judge
from fv_ray.training.procedural.scene import split_of
from fv_ray.video_io import read_frames

SIZE = (5, 32, 48)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_clips_show_what_their_rows_say(tmp_path: Path) -> None:
    table = write_dataset(tmp_path / "set", 4, "held_out", 1, 5, 128, 192)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"clips/00000{index}.mp4" for index in range(4)]
    for row in rows:
        assert tuple(row) == COLUMNS
        assert split_of(row["colour"], row["shape"], row["motion"]) == "held_out"
        assert parse(row["caption"]).items() <= row.items()
        frames = read_frames(table.parent / row["path"])
        assert frames.shape == (5, 128, 192, 3)
        assert judge(frames).values.items() <= row.items()


def test_the_same_seed_writes_the_same_bytes_and_a_larger_set_begins_alike(tmp_path: Path) -> None:
    for name, num_clips in (("one", 2), ("two", 2), ("more", 3)):
        write_dataset(tmp_path / name, num_clips, "train", 5, *SIZE)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    one, more = contents(tmp_path / "one"), contents(tmp_path / "more")
    assert more["captions.csv"].startswith(one["captions.csv"])
    assert [more[f"clips/00000{n}.mp4"] for n in (0, 1)] == [one[f"clips/00000{n}.mp4"] for n in (0, 1)]


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "whole", 4, "train", 2, *SIZE)
    num_encoded = 0

    def encode(*args: object, **settings: object) -> object:
        nonlocal num_encoded
        num_encoded += 1
        if num_encoded == 3:
            raise KeyboardInterrupt
        return encode_mp4(*args, **settings)

    encode_mp4 = dataset.encode_mp4
    monkeypatch.setattr(dataset, "encode_mp4", encode)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", 4, "train", 2, *SIZE)
    assert sorted(contents(tmp_path / "set")) == ["clips/000000.mp4", "clips/000001.mp4", "dataset.json"]
    write_dataset(tmp_path / "set", 4, "train", 2, *SIZE)
    assert num_encoded == 5  # two, the one that was stopped, and the two that were missing
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_another_recipe_in_the_same_folder_is_refused_with_the_difference(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 1, "train", 2, *SIZE)
    before = contents(tmp_path / "set")
    with pytest.raises(StorageError, match=r"another data set: num_clips 1 there and 2 here, seed 2 there and 3 here;"):
        write_dataset(tmp_path / "set", 2, "train", 3, *SIZE)
    assert contents(tmp_path / "set") == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds files that are no data set begun here; give a new folder"):
        write_dataset(tmp_path, 1, "train", 2, *SIZE)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_note_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(StorageError, match=r"dataset.json .*; remove the folder and begin again"):
        write_dataset(tmp_path, 1, "train", 2, *SIZE)


def test_the_note_holds_all_that_decides_the_bytes(tmp_path: Path) -> None:
    table = write_dataset(tmp_path / "set", 1, "train", 2, *SIZE)
    note = json.loads((table.parent / "dataset.json").read_text())
    assert DatasetRecipe(**note) == DatasetRecipe(1, "train", 2, *SIZE)


def test_values_that_are_not_allowed_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 clips were asked for; allowed are 1 and more"):
        write_dataset(tmp_path / "set", 0, "train", 2, *SIZE)
    with pytest.raises(InputError, match="no split 'all'"):
        write_dataset(tmp_path / "set", 1, "all", 2, *SIZE)
    with pytest.raises(InputError, match="34 pixels high"):
        write_dataset(tmp_path / "set", 1, "train", 2, 5, 34, 48)
    with pytest.raises(InputError, match="32 x 49 pixels; mp4 allows even sides: give"):
        write_dataset(tmp_path / "set", 1, "train", 2, 5, 32, 49)
    assert not list(tmp_path.iterdir())
