"""A CSV, JSONL or Parquet table on any fsspec URL to rows by column."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import fsspec
import pyarrow.parquet as pq

from fv_ray.errors import StorageError

TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")


def read_table(fs: fsspec.AbstractFileSystem, table: str) -> tuple[list[str], list[Mapping[str, object]]]:
    """A table's columns and rows; its suffix says what it is.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        columns, rows = _parsed(fs.cat_file(table), PurePosixPath(table).suffix)
        return columns, list(rows)
    except (OSError, ValueError, csv.Error) as error:
        raise StorageError(f"{table} cannot be read as a table ({error}); write it again as UTF-8") from error


def _parsed(data: bytes, suffix: str) -> tuple[list[str], Iterable[Mapping[str, object]]]:
    if suffix == ".parquet":
        table = pq.read_table(io.BytesIO(data))
        return table.column_names, table.to_pylist()
    text = data.decode("utf-8-sig")
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        return list(reader.fieldnames or ()), list(reader)
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    return list(dict.fromkeys(key for row in rows for key in row)), rows
