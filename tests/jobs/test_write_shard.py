"""One block: its shard, its record, and what a crash leaves."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fv_ray.errors import StorageError
from fv_ray.training.clips import ClipRecipe
from fv_ray.video_io import encode_mp4, read_frames
from jobs import write_shard as module
from jobs.list_videos import VideoFile
from jobs.write_shard import SCHEMA, Block, clip_id, write_shard

RECIPE = ClipRecipe(num_frames=4, fps=8, height=16, width=24, min_motion=0)


@pytest.fixture
def block(tmp_path: Path) -> Block:
    (tmp_path / "out" / "clips").mkdir(parents=True)
    (tmp_path / "out" / "blocks").mkdir()
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.mp4"
        frames = np.full((9, 16, 24, 3), 60 + 40 * number, np.uint8)
        encode_mp4([frames], path, fps=8)
        files.append(VideoFile(path.name, f"file://{path}", f"number {number}"))
    return Block(7, tuple(files), "run")


def test_a_shard_holds_every_clip_with_its_place(tmp_path: Path, block: Block) -> None:
    record = write_shard(block, RECIPE, str(tmp_path / "out"))
    assert record == {"block": 7, "num_files": 3, "num_clips": 6, "rejects": []}
    table = pq.read_table(tmp_path / "out" / "clips" / "000007.parquet")
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    assert [(row["path"], row["start_s"]) for row in rows] == [(f"{n}.mp4", s) for n in range(3) for s in (0.0, 0.5)]
    assert len({row["clip_id"] for row in rows}) == 6
    for row in rows:
        assert row["clip_id"] == clip_id(row["path"], row["start_s"])
        frames = read_frames(io.BytesIO(row["mp4"]))
        assert frames.shape == (row["num_frames"], row["height"], row["width"], 3)
        number = int(row["caption"].removeprefix("number "))
        assert np.abs(frames.astype(int) - (60 + 40 * number)).max() <= 3
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["000007.json", "000007.parquet"]


def test_large_clips_go_to_several_row_groups(tmp_path: Path, block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 1)
    write_shard(block, RECIPE, str(tmp_path / "out"))
    file = pq.ParquetFile(tmp_path / "out" / "clips" / "000007.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (6, 6)


@pytest.mark.parametrize(("run", "crashes", "is_read"), [("run", 1, False), ("run", 0, True), ("another", 9, True)])
def test_a_file_that_ended_two_workers_of_this_run_is_passed_over(
    tmp_path: Path, block: Block, run: str, crashes: int, is_read: bool
) -> None:
    note = {"run": run, "reading": 1, "crashes": {"1": crashes}}
    (tmp_path / "out" / "blocks" / "000007.begun").write_text(json.dumps(note))
    record = write_shard(block, RECIPE, str(tmp_path / "out"))
    assert [(reject["path"], reject["code"]) for reject in record["rejects"]] == (
        [] if is_read else [("1.mp4", "fatal")]
    )
    assert record["num_clips"] == (6 if is_read else 4)


def test_a_block_without_clips_has_a_record_only(tmp_path: Path, block: Block) -> None:
    files = (
        VideoFile("gone.mp4", f"file://{tmp_path}/gone.mp4", "x"),
        VideoFile("0.mp4", block.files[0].url, ""),
        VideoFile("gone.mp4", f"file://{tmp_path}/gone.mp4", "x", is_repeated=True),
        VideoFile("odd", "nosuch://x", "x"),
    )
    record = write_shard(Block(0, files, "run"), RECIPE, str(tmp_path / "out"))
    assert [reject["code"] for reject in record["rejects"]] == ["unreadable", "no_caption", "repeated", "unreadable"]
    assert not list((tmp_path / "out" / "clips").iterdir())
    assert json.loads((tmp_path / "out" / "blocks" / "000000.json").read_text()) == record


def test_an_output_that_is_gone_is_told(tmp_path: Path, block: Block) -> None:
    (tmp_path / "out" / "blocks").rmdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_shard(block, RECIPE, str(tmp_path / "out"))
