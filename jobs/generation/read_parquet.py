"""A Parquet file to raw rows, in bounded memory; what cannot be read is a row with a problem and costs no other.

Knows nothing of where the file is: an error of its store is never an OSError here, so every OSError is Arrow's, of
bytes that are no Parquet.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fv_ray.checkpoint import shortened
from jobs.generation.read_lines import MAX_LINE_BYTES, Problem, RawRow

MAX_GROUP_BYTES = 2**28
"""Of a row group's column, unpacked: it is read whole."""
ROWS_PER_BATCH = 256
_UNREADABLE = (ArithmeticError, LookupError, OSError, TypeError, ValueError, pa.ArrowException)
"""What Arrow, and its conversions to Python, raise of a file's content."""


def read_parquet(file: BinaryIO, name: str, known_columns: frozenset[str]) -> Iterator[RawRow]:
    """Each row, with the names alone of columns that are not known.

    Args:
        file: of a store whose errors are no OSErrors.
        name: of the file, in the rows' places.
        known_columns: that are read.
    """
    try:
        table = pq.ParquetFile(file)
        columns = table.schema_arrow.names
    except _UNREADABLE as error:
        yield RawRow(name, problem=_unreadable("the file", error))
        return
    unknown = dict.fromkeys(column for column in columns if column not in known_columns)
    known = [column for column in columns if column in known_columns]
    number = 0
    for group in range(table.num_row_groups):
        for row in _read_group(table, group, known):
            number += 1
            place = f"{name}:{number}"
            yield RawRow(place, problem=row) if isinstance(row, Problem) else RawRow(place, {**row, **unknown})


def _read_group(table: pq.ParquetFile, group: int, known: list[str]) -> Iterator[dict[str, object] | Problem]:
    """Of a row group that cannot be read to its end, a problem for each row that is left."""
    num_left = table.metadata.row_group(group).num_rows
    problem = Problem("invalid_parquet", "its row group has fewer rows than it says; write the file again")
    try:
        sizes = _most_bytes(table, group, known)
        if max(sizes, default=0) > MAX_GROUP_BYTES:
            message = f"its row group has more than {MAX_GROUP_BYTES} bytes in a column; write smaller groups"
            problem = Problem("row_too_large", message)
        else:
            num_rows = MAX_GROUP_BYTES // max(sum(sizes), 1)
            for batch in table.iter_batches(min(max(num_rows, 1), ROWS_PER_BATCH), row_groups=[group], columns=known):
                for row in range(batch.num_rows):
                    num_left -= 1
                    yield _fields(batch, row)
    except _UNREADABLE as error:
        problem = _unreadable("the rest of its row group", error)
    yield from repeat(problem, num_left)


def _most_bytes(table: pq.ParquetFile, group: int, known: list[str]) -> list[int]:
    """That one row can take in each column: a dictionary and delta encodings make any value as long as all are.

    Of a list the values are so many more than the rows, and a null of fixed length takes that too.
    """
    metadata = table.metadata.row_group(group)
    sizes = []
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        if {column.path_in_schema, column.path_in_schema.partition(".")[0]} & {*known}:
            value_bytes = max(column.total_uncompressed_size, column.total_compressed_size)
            most_values = max(column.num_values - metadata.num_rows, 0) + 1
            fixed_bytes = (table.schema.column(number).length or 0) * column.num_values
            sizes.append(max(value_bytes * most_values, fixed_bytes))
    return sizes


def _fields(batch: pa.RecordBatch, row: int) -> dict[str, object] | Problem:
    fields, num_bytes = {}, 0
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cell = column.slice(row, 1)
            if pa.types.is_dictionary(cell.type):  # whose bytes would be those of all its values
                cell = cell.dictionary_decode()
            if (num_bytes := num_bytes + cell.nbytes) > MAX_LINE_BYTES:
                message = f"the row has more than {MAX_LINE_BYTES} bytes, which are allowed; shorten it"
                return Problem("row_too_large", message)
            fields[name] = cell[0].as_py()
        except _UNREADABLE as error:
            return _unreadable(name, error)
    return fields


def _unreadable(what: str, error: Exception) -> Problem:
    told = shortened(str(error).partition("\n")[0], 200)
    return Problem("invalid_parquet", f"{what} cannot be read as Parquet ({told}); write it again")
