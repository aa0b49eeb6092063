"""Folders and tables to lists of videos."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fv_ray.errors import InputError, StorageError
from jobs.list_videos import VideoFile, list_videos


def told(files: list[VideoFile]) -> list[tuple[str, str]]:
    return [(file.path, file.caption) for file in files]


def test_a_folder_takes_captions_from_its_table_then_from_text_files(tmp_path: Path) -> None:
    (tmp_path / "deep" / ".hidden").mkdir(parents=True)
    for name in ("b.mp4", "deep/c.MKV", "a.webm", "d.mov", "notes.md", "deep/.hidden/e.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("from text\n")
    (tmp_path / "b.txt").write_text("not read")
    (tmp_path / "captions.csv").write_text('path,caption\nb.mp4,"from, table"\ngone.mp4,absent\n')
    files = list_videos(str(tmp_path))
    assert told(files) == [
        ("b.mp4", "from, table"),
        ("gone.mp4", "absent"),
        ("a.webm", "from text"),
        ("d.mov", ""),
        ("deep/c.MKV", ""),
    ]
    assert files[0].url == f"file://{tmp_path}/b.mp4"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    rows = [{"file": "x/a.mp4", "text": "one"}, {"file": "s3://b/c.mp4", "text": ""}, {"file": "x/a.mp4", "text": "3"}]
    table = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        table.write_text("file,text\n" + "".join(f"{row['file']},{row['text']}\n" for row in rows), "utf-8-sig")
    elif suffix == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), table)
    files = list_videos(f"file://{table}", "file", "text")
    assert files == [
        VideoFile("x/a.mp4", f"file://{tmp_path}/x/a.mp4", "one", False),
        VideoFile("s3://b/c.mp4", "s3://b/c.mp4", "", False),
        VideoFile("x/a.mp4", f"file://{tmp_path}/x/a.mp4", "3", True),
    ]


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,text\na.mp4,one\n")
    with pytest.raises(InputError, match=r"no column 'caption'; it has path, text: name one with --caption-column"):
        list_videos(str(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"no column 'file'.*--path-column"):
        list_videos(str(tmp_path / "t.csv"), "file", "text")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing at"):
        list_videos(str(tmp_path / "none"))
    with pytest.raises(InputError, match="names no video"):
        list_videos(str(tmp_path))
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(InputError, match="must be one of"):
        list_videos(str(tmp_path / "t.xlsx"))


@pytest.mark.parametrize(
    ("name", "data"), [("t.jsonl", b"{"), ("t.jsonl", b"[1]"), ("t.parquet", b"no"), ("t.csv", b"\xff")]
)
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(StorageError, match="cannot be read as a table"):
        list_videos(str(tmp_path / name))
