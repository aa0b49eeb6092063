from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from fv_ray.blobs import open_blobs
from fv_ray.disk_blobs import DiskBlobs
from fv_ray.errors import StorageError
from jobs.generation.begin_run import (
    SUCCESS_FILE,
    Input,
    Settings,
    add_version,
    begin_run,
    look_at,
    note_attempt,
    settle_dtype,
)
from jobs.generation.check_rows import Asking, Row
from jobs.generation.keep_rows import KeptRows, keep_rows


def kept(folder: Path, ids: Sequence[str], marks: Sequence[int] = ()) -> KeptRows:
    rows = (Row(number=number, place="", id=row_id, key=row_id) for number, row_id in enumerate(ids))
    return keep_rows(rows, folder / uuid4().hex, marks)


def settings(seed: int = 0) -> Settings:
    return Settings(
        asking=Asking(seed=seed),
        checkpoint_name="tiny",
        checkpoint_digest="sha256:0",
        dtype=None,
        attention_backend="native",
        from_previews=None,
    )


def test_the_same_goes_on_and_another_is_refused(place: str, tmp_path: Path) -> None:
    blobs, rows = open_blobs(place), kept(tmp_path, "abc")
    assert begin_run(blobs, "a", settings(), rows, extends=False) == 1
    written = blobs.read("run.json")
    assert begin_run(blobs, "elsewhere", settings(), kept(tmp_path, "abc"), extends=False) == 1
    for other, again in (
        (settings(1), rows),
        (settings(), kept(tmp_path, "acb")),
        (settings(), kept(tmp_path, "abcd")),
    ):
        with pytest.raises(StorageError, match="give"):
            begin_run(blobs, "a", other, again, extends=False)
    assert blobs.read("run.json") == written


def test_rows_are_added_behind_those_that_are_there(place: str, tmp_path: Path) -> None:
    blobs = open_blobs(place)
    begin_run(blobs, "a", settings(), kept(tmp_path, "abc"), extends=False)
    blobs.create(SUCCESS_FILE, b'{"manifest_version": 1}')
    for ids in ("ab", "abd", "xabc"):
        with pytest.raises(StorageError, match="not the first 3 of this input"):
            begin_run(blobs, "a", settings(), kept(tmp_path, ids, [3]), extends=True)
    assert blobs.read(SUCCESS_FILE) is not None
    assert begin_run(blobs, "a", settings(), kept(tmp_path, "abcd", [3]), extends=True) == 2
    assert blobs.read(SUCCESS_FILE) is None
    assert begin_run(blobs, "a", settings(), kept(tmp_path, "abcd", [4]), extends=False) == 2
    last = look_at(blobs).input
    assert last is not None
    assert add_version(blobs, 2, "retry-errors", last) == look_at(blobs).version == 3


def test_of_many_launches_that_begin_at_once_all_go_on(place: str, tmp_path: Path) -> None:
    rows = kept(tmp_path, "abc")
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda _: begin_run(open_blobs(place), "a", settings(), rows, extends=False), range(8))
    assert set(found) == {1}


def test_of_two_launches_that_add_rows_at_once_the_first_counts(place: str, tmp_path: Path) -> None:
    """Both have seen the first version alone."""
    blobs = open_blobs(place)
    more, other = (Input(num_rows=4, rows_sha256=digest) for digest in "ab")
    begin_run(blobs, "a", settings(), kept(tmp_path, "abc"), extends=False)
    assert add_version(blobs, 1, "extend", more) == 2
    blobs.create(SUCCESS_FILE, b'{"manifest_version": 2}')
    assert add_version(blobs, 1, "extend", more) == 2
    with pytest.raises(StorageError, match=r"0002\.json was written by another launch meanwhile, of 4 rows .* again"):
        add_version(blobs, 1, "extend", other)
    assert look_at(blobs).input == more
    assert blobs.read(SUCCESS_FILE) is not None


def test_a_launch_that_begins_between_the_looks_of_another_is_none_of_something_else(tmp_path: Path) -> None:
    place, rows = tmp_path / "place", kept(tmp_path, "abc")

    class Interrupted(DiskBlobs):
        def files(self, folder: str) -> Sequence[str]:
            begin_run(open_blobs(str(place)), "a", settings(), rows, extends=False)
            note_attempt(open_blobs(str(place)), "first", [])
            return super().files(folder)

    assert begin_run(Interrupted(place), "a", settings(), rows, extends=False) == 1


def test_the_first_launch_s_device_settles_the_dtype_of_all(place: str) -> None:
    blobs, other = open_blobs(f"{place}/run"), open_blobs(f"{place}/other")
    assert [settle_dtype(blobs, device) for device in ("cpu", "cuda", "cpu")] == ["float32"] * 3
    assert [settle_dtype(other, device) for device in ("cuda", "cpu")] == ["bfloat16"] * 2


def test_a_folder_of_something_else_is_left_alone(place: str, tmp_path: Path) -> None:
    blobs = open_blobs(place)
    blobs.create("w/00/file", b"")
    with pytest.raises(StorageError, match="holds w/00/file and no run.json"):
        begin_run(blobs, "a", settings(), kept(tmp_path, "abc"), extends=False)
