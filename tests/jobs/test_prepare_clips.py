"""The whole job on a real Ray: everything once, whatever is broken, stopped or changed."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fv_ray.errors import InputError, StorageError
from fv_ray.training.clips import ClipRecipe
from fv_ray.training.procedural.dataset import write_dataset
from fv_ray.video_io import read_frames
from jobs import prepare_clips as module
from jobs.prepare_clips import prepare_clips
from jobs.write_shard import Block, write_shard

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

NUM_CLIPS = 24
OPTIONS: dict[str, Any] = {"num_frames": 9, "height": 64, "width": 96, "min_motion": 0.0, "files_per_shard": 4}
BROKEN = {"cut.mp4": "damaged", "empty.mp4": "unreadable", "foreign.mkv": "unreadable", "silent.mp4": "no_caption"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good clips of two lengths each, four files that are none."""
    folder = tmp_path_factory.mktemp("set")
    table = write_dataset(folder, NUM_CLIPS, "train", 0, 18, 64, 96)
    good = (folder / "clips" / "000000.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(good[: len(good) // 2])
    (folder / "empty.mp4").touch()
    (folder / "foreign.mkv").write_text("a letter\n" * 50)
    (folder / "silent.mp4").write_bytes(good)
    with table.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([name, "broken"] for name in BROKEN if name != "silent.mp4")
    return folder


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run that nothing stopped made."""
    output = tmp_path_factory.mktemp("whole") / "out"
    prepare_clips(str(source), f"file://{output}", **OPTIONS)
    return output


def rows(output: Path) -> list[dict[str, Any]]:
    found = [row for shard in sorted((output / "clips").iterdir()) for row in pq.read_table(shard).to_pylist()]
    return sorted(found, key=lambda row: (row["path"], row["start_s"]))


def assert_same_clips(one: Path, other: Path) -> None:
    """The same rows and pixels: x264 does not always write the same bytes for them."""
    for row, twin in zip(rows(one), rows(other), strict=True):
        frames, twins = (read_frames(io.BytesIO(clip.pop("mp4"))).astype(int) for clip in (row, twin))
        assert row == twin
        assert np.abs(frames - twins).mean() < 0.1


def rejects(output: Path) -> list[dict[str, str]]:
    with (output / "rejects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def state(output: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in output.rglob("*") if path.is_file()}


def test_every_clip_arrives_once_and_every_broken_file_is_told(source: Path, whole: Path) -> None:
    with (source / "captions.csv").open(newline="") as file:
        captions = {row["path"]: row["caption"] for row in csv.DictReader(file)}
    found = rows(whole)
    expected = [(f"clips/{number:06d}.mp4", start_s) for number in range(NUM_CLIPS) for start_s in (0.0, 9 / 8)]
    assert [(row["path"], row["start_s"]) for row in found] == expected
    assert all(row["caption"] == captions[row["path"]] for row in found)
    assert {row["path"]: row["code"] for row in rejects(whole)} == BROKEN
    assert json.loads((whole / "summary.json").read_text()) == {
        "num_files": NUM_CLIPS + len(BROKEN),
        "num_clips": 2 * NUM_CLIPS,
        "num_rejects": len(BROKEN),
        "rejects": dict(sorted(Counter(BROKEN.values()).items())),
    }
    assert not [path for path in whole.rglob("*") if path.name.startswith(".") or path.suffix == ".begun"]


def test_a_second_run_does_nothing(source: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(whole)
    monkeypatch.setattr(module, "_run", lambda *_: pytest.fail("Ray was asked"))
    prepare_clips(str(source), str(whole), **OPTIONS)
    assert state(whole) == before


def test_a_run_that_was_killed_goes_on(source: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    command = [sys.executable, "-m", "jobs.prepare_clips", f"--input={source}", f"--output={output}", *options]
    process = subprocess.Popen([*command, "--num-workers=1"], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(list(output.glob("blocks/0*.json"))) >= 2 or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "summary.json").exists()
    kept = {path: seen for path, seen in state(output).items() if path.suffix == ".json"}
    prepare_clips(str(source), str(output), **OPTIONS)
    assert kept.items() <= state(output).items()
    assert_same_clips(output, whole)
    assert rejects(output) == rejects(whole)


def test_a_worker_that_was_killed_is_repeated(source: Path, whole: Path, tmp_path: Path) -> None:
    output, killed = tmp_path / "out", []

    def kill_one() -> None:
        wait_for(lambda: any(output.glob("blocks/*.begun")))
        wait_for(lambda: killed.extend(busy_workers()) or killed)
        os.kill(killed[0], signal.SIGKILL)

    thread = Thread(target=kill_one)
    thread.start()
    prepare_clips(str(source), str(output), **{**OPTIONS, "files_per_shard": 28})
    thread.join()
    assert killed
    assert_same_clips(output, whole)
    assert rejects(output) == rejects(whole)


def test_other_values_and_other_files_are_refused_with_the_difference(source: Path, whole: Path) -> None:
    before = state(whole)
    with pytest.raises(StorageError, match=r"fps is 8 there and 4 here; give the same"):
        prepare_clips(str(source), str(whole), **OPTIONS, fps=4)
    with pytest.raises(StorageError, match=r"num_files is 28 there and 3 here; paths_and_captions is '"):
        prepare_clips(str(source), str(whole), **OPTIONS, limit=3)
    assert state(whole) == before


def test_a_folder_of_something_else_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StorageError, match="were not begun here"):
        prepare_clips(str(source), str(tmp_path), **OPTIONS)


def test_a_missing_column_is_an_error_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'text'; it has path, caption, "):
        prepare_clips(str(source), str(tmp_path / "out"), caption_column="text")
    assert not (tmp_path / "out").exists()


def test_the_command_tells_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys_argv, sys.argv = sys.argv, ["prepare_clips", f"--input={tmp_path}", f"--output={tmp_path}/out"]
    try:
        with pytest.raises(SystemExit, match="1"):
            module.main()
    finally:
        sys.argv = sys_argv
    assert capsys.readouterr().err.startswith("error: ")


def test_a_storage_error_in_a_worker_is_told_as_ours(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare_clips(str(source), str(output), **OPTIONS, limit=4)
    (output / "summary.json").unlink()
    (output / "blocks" / "000000.json").unlink()
    shutil.rmtree(output / "clips")
    (output / "clips").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        prepare_clips(str(source), str(output), **OPTIONS, limit=4)


def test_a_store_without_folders_serves_as_output(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store makes no folders, and lists none that is empty. Memory is one process's, so Ray is left out."""
    monkeypatch.setattr(MemoryFileSystem, "makedirs", lambda *_, **__: None)

    def run(blocks: list[Block], recipe: ClipRecipe, output: str, _: object) -> None:
        for block in blocks:
            write_shard(block, recipe, output)

    monkeypatch.setattr(module, "_run", run)
    output = "memory://bucket/out"
    for _ in range(2):
        prepare_clips(str(source), output, **OPTIONS, limit=5)
    fs = MemoryFileSystem()
    assert json.loads(fs.cat_file("/bucket/out/summary.json"))["num_clips"] == 10
    fs.rm("/bucket", recursive=True)


def wait_for(condition: Any) -> None:
    end_s = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def busy_workers() -> Iterator[int]:
    """Ray's processes under this one that run our task."""
    for folder in Path("/proc").iterdir():
        try:
            is_ours = folder.name.isdigit() and os.getpid() in ancestors(int(folder.name))
            if is_ours and b"ray::Map(_write)" in (folder / "cmdline").read_bytes():
                yield int(folder.name)
        except OSError:
            continue  # it ended meanwhile


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
