"""Rows to a CSV, JSONL or Parquet table: what `read_table` reads."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq


def table_bytes(columns: Sequence[str], rows: Sequence[Mapping[str, object]], name: str) -> bytes:
    """A table's bytes; the suffix of `name` says what it is. What is None is empty in CSV, null in the others."""
    suffix = PurePosixPath(name).suffix
    if suffix == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), sink)
        return sink.getvalue().to_pybytes()
    if suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    return "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows).encode()
