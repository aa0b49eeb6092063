"""Parquet that cannot be read costs its own rows, and a small file takes little memory whatever is in it."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from fv_ray.errors import StorageError
from jobs.generation import read_parquet as module
from jobs.generation.read_lines import MAX_LINE_BYTES
from jobs.generation.read_prompts import Table, find_tables, read_prompts
from jobs.generation.type_fields import COLUMNS

PROMPTS = ["fox", "cat", "dog", "hen"]
DATED = {pa.timestamp("us"): 2**60, pa.date32(): 2**30}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.parquet"


def read(file: Path) -> list[object]:
    """The problem's code, or the prompt, of each row."""
    rows = list(read_prompts(find_tables(str(file)), COLUMNS))
    assert [row.place for row in rows] in (["a.parquet"], [f"a.parquet:{n + 1}" for n in range(len(rows))])
    return [row.problem.code if row.problem else row.fields["prompt"] for row in rows]


def test_columns_keep_their_types_and_unknown_ones_are_named(file: Path) -> None:
    columns = {"prompt": ["fox"], "stage_one.height": [32.0], "stage_two": [{"width": 64}], "author": ["a" * 100]}
    pq.write_table(pa.table(columns), file)
    (row,) = read_prompts(find_tables(str(file)), COLUMNS)
    assert row.fields == {"prompt": "fox", "stage_one.height": 32.0, "stage_two": {"width": 64}, "author": None}


def test_a_value_that_is_no_utf_8_costs_its_own_row(file: Path) -> None:
    good = pa.array(["fox", "xxx", "cat"])
    bad = pa.Array.from_buffers(pa.string(), 3, [None, good.buffers()[1], pa.py_buffer(b"fox\xff\xfe\xfacat")])
    pq.write_table(pa.table({"prompt": bad}), file)
    assert read(file) == ["fox", "invalid_parquet", "cat"]


@pytest.mark.parametrize("kind", DATED, ids=str)
def test_a_time_that_python_does_not_know_costs_its_own_row(file: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"prompt": ["fox", "cat"], "seed": pa.array([DATED[kind], 1], kind)}), file)
    assert read(file) == ["invalid_parquet", "cat"]


def test_a_damaged_page_costs_the_rest_of_its_row_group(file: Path) -> None:
    pq.write_table(pa.table({"prompt": PROMPTS}), file, row_group_size=2, use_dictionary=False)
    column = pq.read_metadata(file).row_group(0).column(0)
    data = bytearray(file.read_bytes())
    end = column.data_page_offset + column.total_compressed_size
    data[column.data_page_offset : end] = b"\xff" * column.total_compressed_size
    file.write_bytes(data)
    assert read(file) == ["invalid_parquet", "invalid_parquet", "dog", "hen"]


@pytest.mark.parametrize("damage", ["end", "footer", "name"])
def test_a_file_that_is_no_parquet_is_a_row(file: Path, damage: str) -> None:
    pq.write_table(pa.table({"prompt": PROMPTS, "author": PROMPTS}), file, store_schema=False)
    data, footer = file.read_bytes(), pq.read_metadata(file).serialized_size
    damaged = {
        "end": data[:-20],
        "footer": data[: -footer - 8] + b"\xff" * footer + data[-8:],
        "name": data.replace(b"author", b"aut\xff\xfer"),
    }
    file.write_bytes(damaged[damage])
    assert read(file) == ["invalid_parquet"]


class Gone(io.BytesIO):
    """A file whose store fails as soon as anything but its end is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() < 100:
            raise OSError("the store is gone")
        return super().read(size)


def test_a_store_that_fails_is_no_row(file: Path) -> None:
    class Failing(LocalFileSystem):
        def open(self, path: str, *_: Any, **__: Any) -> io.BytesIO:
            return Gone(Path(path).read_bytes())

    pq.write_table(pa.table({"prompt": ["a long prompt " * 100]}), file, compression="none")
    with pytest.raises(StorageError, match=r"a\.parquet cannot be read \(the store is gone\)"):
        list(read_prompts(Table(Failing(), ((str(file), "a.parquet"),)), COLUMNS))


def test_a_row_group_of_too_many_bytes_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 1000)
    pq.write_table(pa.table({"prompt": ["fox", "x" * 2000, "cat"]}), file, row_group_size=1)
    assert read(file) == ["fox", "row_too_large", "cat"]


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}])
def test_a_value_that_is_stored_once_is_not_unpacked_for_many_rows(
    file: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 2**20)
    prompt = "x" * 2**18
    pq.write_table(pa.table({"prompt": [prompt] * 300}), file, **options)
    assert file.stat().st_size < 2**16
    before, num_rows = pa.total_allocated_bytes(), 0
    for row in read_prompts(find_tables(str(file)), COLUMNS):
        assert row.fields == {"prompt": prompt}
        assert pa.total_allocated_bytes() - before < 2**23
        num_rows += 1
    assert num_rows == 300


@pytest.mark.parametrize(
    "ids", [pa.array([None] * 300, pa.binary(2**12)), pa.array([["x" * 1000] * 2000])], ids=["null", "list"]
)
def test_a_column_that_grows_beyond_its_bytes_is_not_read(
    file: Path, ids: pa.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 2**20)
    pq.write_table(pa.table({"prompt": ["fox"] * len(ids), "id": ids}), file)
    assert file.stat().st_size < 2**14
    assert read(file) == ["row_too_large"] * len(ids)


def test_a_row_may_be_as_long_as_a_line(file: Path) -> None:
    long = [{"prompt_prefix": "x" * MAX_LINE_BYTES}, None]
    pq.write_table(pa.table({"prompt": ["fox", "cat"], "stage_one": long}), file)
    assert read(file) == ["row_too_large", "cat"]


def test_a_row_is_as_long_as_what_it_has_of_a_dictionary(file: Path) -> None:
    prompts = pa.array(["fox", "cat", "x" * MAX_LINE_BYTES])
    pq.write_table(pa.table({"prompt": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0]), prompts)}), file)
    assert read(file) == ["fox", "cat", "row_too_large", "fox"]
