import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fv_ray.artifact_store import StageRecord
from fv_ray.blobs import open_blobs
from fv_ray.checkpoint import DEFAULT_MODEL, CheckpointInfo
from jobs.generation import write_manifest as module
from jobs.generation.begin_run import SUCCESS_FILE
from jobs.generation.check_rows import Row
from jobs.generation.find_ends import End
from jobs.generation.mark_rows import RowError
from jobs.generation.read_lines import Problem
from jobs.generation.write_manifest import MANIFEST, write_manifest, write_success
from tests.artifact_writer import key

CHECKPOINT = CheckpointInfo.read(DEFAULT_MODEL)
NOW = datetime.now(UTC)
PREVIEW = StageRecord(work_key=key(1), stage="stage_one", artifacts={}, device_seconds=1, device="cpu", created_at=NOW)
MADE = End(preview=PREVIEW, is_made=True)
GIVEN_UP = End(error=RowError(stage="stage_one", code="crash_loop", message="", attempts=3, node="a", created_at=NOW))


def asked(number: int, end: End, work: int = 1) -> tuple[Row, End]:
    """A row that asks for a work."""
    return Row(number=number, place=f"t:{number}", id=str(number), key=key(work)), end


def refused(number: int) -> tuple[Row, End]:
    return Row(
        number=number, place=f"t:{number}", id=str(number), problem=Problem("prompt_empty", "it is empty")
    ), End()


def test_parts_are_of_so_many_rows_and_of_the_same_bytes_each_time(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_PART", 2)
    blobs = open_blobs(place)
    written = [write_manifest(blobs, map(refused, range(5)), version, CHECKPOINT, tmp_path) for version in (1, 2)]
    digests = [[digest for path, digest in sorted(each.parts.items()) if "manifest" in path] for each in written]
    assert len(digests[0]) == 3
    assert digests[0] == digests[1]
    found = []
    for path, digest in sorted(written[0].parts.items()):
        content = blobs.read(path) or b""
        assert sha256(content).hexdigest() == digest
        (tmp_path / "part.parquet").write_bytes(content)
        found += pq.read_table(tmp_path / "part.parquet").to_pylist() if path.startswith("manifest") else []
    assert [(row["row_number"], row["status"], row["error_code"]) for row in found] == [
        (number, "error", "prompt_empty") for number in range(5)
    ]


def test_of_two_launches_that_end_at_once_the_first_one_s_parts_are_what_it_has_named(
    place: str, tmp_path: Path
) -> None:
    """One has given a row up that the other one was making."""
    blobs = open_blobs(place)
    first, second = (write_manifest(blobs, [asked(0, end)], 1, CHECKPOINT, tmp_path) for end in (GIVEN_UP, MADE))
    for written in (first, second):
        write_success(blobs, 1, written)
    parts = json.loads(blobs.read(SUCCESS_FILE) or b"")["parts"]
    assert parts == first.parts
    assert {path: sha256(blobs.read(path) or b"").hexdigest() for path in parts} == parts
    assert {*blobs.files("manifest"), *blobs.files("errors")} == parts.keys()


def test_a_manifest_with_rows_that_have_not_ended_is_not_stored(place: str, tmp_path: Path) -> None:
    blobs = open_blobs(place)
    written = write_manifest(blobs, [refused(0), asked(1, End()), asked(2, MADE)], 1, CHECKPOINT, tmp_path)
    assert (written.num_rows, written.num_not_ended, written.parts) == (3, 1, {})
    assert blobs.files("") == []


def test_seconds_are_counted_once_a_work_and_only_of_works_of_this_run(tmp_path: Path) -> None:
    """Two videos of one preview, one of them asked for twice, and a failed row that is asked for twice."""
    blobs = open_blobs(str(tmp_path / "run"))
    two, three = (
        End(PREVIEW, PREVIEW.model_copy(update={"work_key": key(work), "stage": "stage_two"}), is_made=True)
        for work in (2, 3)
    )
    ends = [(two, 2), (three, 3), (three, 3), (GIVEN_UP, 4), (GIVEN_UP, 4)]
    rows = [asked(number, end, work) for number, (end, work) in enumerate(ends)]
    written = write_manifest(blobs, rows, 1, CHECKPOINT, tmp_path)
    assert written.useful_s == {"stage_one/cpu": 1, "stage_two/cpu": 2}
    assert (written.num_made, written.num_errors, written.num_repeated) == (3, 2, 1)
    assert write_manifest(blobs, rows, 1, CHECKPOINT, tmp_path, has_own_previews=False).useful_s == {"stage_two/cpu": 2}


def test_an_error_says_whether_another_try_may_end_otherwise(tmp_path: Path) -> None:
    blobs = open_blobs(str(tmp_path / "run"))
    assert GIVEN_UP.error is not None
    spoiled = End(error=GIVEN_UP.error.model_copy(update={"code": "numerical_error"}))
    rows = [refused(0), asked(1, GIVEN_UP), asked(2, spoiled, 2)]
    write_manifest(blobs, rows, 1, CHECKPOINT, tmp_path)
    found = pq.read_table(tmp_path / "run" / "errors" / "v0001").to_pylist()
    assert [(row["code"], row["attempts"], row["retryable"]) for row in found] == [
        ("prompt_empty", 0, False),
        ("crash_loop", 3, True),
        ("numerical_error", 3, False),
    ]


def test_a_manifest_of_no_row_has_its_columns(tmp_path: Path) -> None:
    blobs = open_blobs(str(tmp_path / "run"))
    written = write_manifest(blobs, [], 1, CHECKPOINT, tmp_path)
    (part,) = (tmp_path / "run" / "manifest" / "v0001").glob("part-00000-*.parquet")
    assert pq.read_schema(part).names == MANIFEST.names
    assert len(written.parts) == 2


def test_the_word_of_an_earlier_version_does_not_stand(place: str, tmp_path: Path) -> None:
    blobs = open_blobs(place)
    written = write_manifest(blobs, [refused(0)], 1, CHECKPOINT, tmp_path)
    for version in (1, 1, 2, 1):
        write_success(blobs, version, written)
    assert json.loads(blobs.read(SUCCESS_FILE) or b"")["manifest_version"] == 2
