"""One table in three formats is the same rows."""

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fv_ray.errors import StorageError
from jobs.read_table import TABLE_SUFFIXES, read_table

ROWS = [{"prompt": "a, b\nc", "note": "x"}, {"prompt": "d", "note": "y"}]


def test_formats_agree(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\ufeffprompt,note\n"a, b\nc",x\nd,y\n', "utf-8")
    (tmp_path / "t.jsonl").write_text('{"prompt": "a, b\\nc", "note": "x"}\n\n{"prompt": "d", "note": "y"}\n')
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    for suffix in TABLE_SUFFIXES:
        assert read_table(fsspec.filesystem("file"), str(tmp_path / f"t{suffix}")) == (["prompt", "note"], ROWS)


@pytest.mark.parametrize(("name", "data"), [("t.csv", b"\xff\xfe\x00"), ("t.jsonl", b"[1]\n"), ("t.parquet", b"PAR1")])
def test_what_cannot_be_read(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(StorageError, match="cannot be read as a table"):
        read_table(fsspec.filesystem("file"), str(tmp_path / name))
