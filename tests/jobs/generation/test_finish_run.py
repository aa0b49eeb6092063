"""The end of a run whose one row is made or given up by hand."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs.generation.begin_run import SUCCESS_FILE
from jobs.generation.check_rows import Asking
from jobs.generation.finish_run import finish_run, finished
from jobs.generation.mark_rows import RowError
from jobs.generation.open_run import OpenRun, Wanted, open_run
from jobs.generation.write_report import REPORT_FILE


def opened(checkpoint: Path, folder: Path, **changes: Any) -> OpenRun:
    """As each launch opens it."""
    table, scratch = folder / "prompts.csv", folder / uuid4().hex
    table.write_text("prompt\na red fox\n")
    scratch.mkdir()
    asking = Asking(makes="previews")
    return open_run(Wanted(str(table), str(folder / "run"), checkpoint, asking, **changes), scratch)


def make(run: OpenRun, folder: Path) -> None:
    (row,) = run.rows
    video = folder / "preview.mp4"
    video.write_bytes(b"frames")
    run.store.commit(row.preview_key, "stage_one", {"preview.mp4": video}, device="cpu", device_seconds=2)


def give_up(run: OpenRun) -> None:
    (row,) = run.rows
    error = RowError(
        stage="stage_one", code="crash_loop", message="", attempts=3, node="a", created_at=datetime.now(UTC)
    )
    run.marks.give_up(row.key, error)


def finish(run: OpenRun, folder: Path) -> dict[str, Any] | None:
    return finish_run(run, {}, 86_400, folder)


def test_rows_that_have_not_ended_are_told_and_nothing_is_written(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(small_checkpoint, tmp_path)
    assert finish(run, tmp_path) is None
    assert "1 rows have not ended" in capsys.readouterr().err
    assert not run.blobs.files("manifest")
    make(run, tmp_path)
    report = finish(run, tmp_path)
    assert report is not None
    assert (report["num_made"], report["device_s"]["useful"]) == (1, 2)
    assert finished(run) == report


def test_a_launch_that_ends_second_tells_what_the_first_has_written(small_checkpoint: Path, tmp_path: Path) -> None:
    first, second = opened(small_checkpoint, tmp_path), opened(small_checkpoint, tmp_path)
    give_up(first)
    report = finish(first, tmp_path)
    make(second, tmp_path)
    assert finish(second, tmp_path) == report == json.loads(first.blobs.read(REPORT_FILE) or b"")
    success = json.loads(first.blobs.read(SUCCESS_FILE) or b"")
    assert (success["num_made"], success["num_errors"]) == (0, 1)
    for path, digest in success["parts"].items():
        assert sha256(first.blobs.read(path) or b"").hexdigest() == digest


@pytest.mark.parametrize("damage", [Path.unlink, lambda part: part.write_bytes(b"other")], ids=["gone", "other"])
def test_a_damaged_part_is_written_again_where_files_are_checked(
    small_checkpoint: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    run = opened(small_checkpoint, tmp_path)
    make(run, tmp_path)
    report = finish(run, tmp_path)
    (part,) = (tmp_path / "run" / "manifest").rglob("*.parquet")
    whole = part.read_bytes()
    damage(part)
    assert finished(opened(small_checkpoint, tmp_path)) == report
    checking = opened(small_checkpoint, tmp_path, checks_files=True)
    assert finished(checking) is None
    finish(checking, tmp_path)
    assert part.read_bytes() == whole
    assert finished(checking) == report
