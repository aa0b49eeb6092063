import json
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fv_ray.blobs import open_blobs
from jobs.generation import write_manifest as module
from jobs.generation.begin_run import SUCCESS_FILE
from jobs.generation.check_rows import Row
from jobs.generation.find_ends import End
from jobs.generation.read_lines import Problem
from jobs.generation.write_manifest import MANIFEST, write_manifest, write_success


def refused(number: int) -> tuple[Row, End]:
    return Row(
        number=number, place=f"t:{number}", id=str(number), problem=Problem("prompt_empty", "it is empty")
    ), End()


def test_parts_are_of_so_many_rows_and_of_the_same_bytes_each_time(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_PART", 2)
    blobs = open_blobs(place)
    written = [write_manifest(blobs, map(refused, range(5)), version, 8, tmp_path) for version in (1, 2)]
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


def test_a_manifest_of_no_row_has_its_columns(tmp_path: Path) -> None:
    blobs = open_blobs(str(tmp_path / "run"))
    written = write_manifest(blobs, [], 1, 8, tmp_path)
    assert pq.read_schema(tmp_path / "run" / "manifest" / "v0001" / "part-00000.parquet").names == MANIFEST.names
    assert len(written.parts) == 2


def test_the_word_of_an_earlier_version_does_not_stand(place: str, tmp_path: Path) -> None:
    blobs = open_blobs(place)
    written = write_manifest(blobs, [refused(0)], 1, 8, tmp_path)
    for version in (1, 1, 2, 1):
        write_success(blobs, version, written)
    assert json.loads(blobs.read(SUCCESS_FILE) or b"")["manifest_version"] == 2
