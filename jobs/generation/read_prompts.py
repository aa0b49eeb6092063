"""The URL of a prompt table to raw rows, in a fixed order: CSV, JSONL, Parquet or plain text; files, folders, globs.

Knows nothing of what a row may say. Whatever is in a file, memory stays bounded, and what cannot be read is a row with
a problem.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from fv_ray.errors import InputError, StorageError
from jobs.generation.read_lines import Problem, RawRow, read_csv, read_jsonl, read_text

SUFFIXES = (".csv", ".jsonl", ".parquet", ".txt")
PROTOCOLS = ("file", "gs", "https", "memory", "s3")
MAX_GROUP_BYTES = 2**28
"""Of a row group's column, unpacked: it is read whole."""
ROWS_PER_BATCH = 256

_LINE_READERS = {".csv": read_csv, ".jsonl": read_jsonl, ".txt": read_text}


@dataclass(frozen=True)
class Table:
    """The files of an input."""

    fs: fsspec.AbstractFileSystem
    files: tuple[tuple[str, str], ...]
    """Path and name of each, in the order in which they are read."""


def find_tables(source: str) -> Table:
    """The files of a URL: one file, those that a glob matches, or all of a folder, by name.

    Raises:
        InputError: there is none, or the URL is not allowed.
    """
    if "::" in source or ("://" in source and source.partition("://")[0] not in PROTOCOLS):
        told = f"allowed are files and {', '.join(f'{name}://' for name in PROTOCOLS)}, and no chain of them"
        raise InputError(f"the input is {source!r}; {told}: give another URL")
    try:
        fs, root = fsspec.core.url_to_fs(source)
        paths = _paths(fs, root)
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"{source} cannot be looked at ({error}); it must be there: give another input") from error
    if not paths:
        raise InputError(f"there is no table at {source}; allowed are {', '.join(SUFFIXES)}: give one, or a folder")
    folder = root if len(paths) > 1 or paths[0] != root else root.rpartition("/")[0]
    return Table(fs, tuple((path, path.removeprefix(folder).lstrip("/")) for path in paths))


def read_prompts(table: Table, known_columns: frozenset[str]) -> Iterator[RawRow]:
    """Every row of every file.

    Args:
        table: of `find_tables`.
        known_columns: of Parquet, whose others are not read but for their names.
    """
    for path, name in table.files:
        suffix = PurePosixPath(path).suffix.lower()
        try:
            with table.fs.open(path, "rb") as file:
                if suffix == ".parquet":
                    yield from _read_parquet(pq.ParquetFile(file), name, known_columns)
                else:
                    with io.BufferedReader(file) as lines:  # fsspec's own readline knows no limit
                        yield from _LINE_READERS[suffix](lines, name)
        except pa.ArrowException as error:
            told = str(error).splitlines()[0]
            message = f"the rest of the file is no Parquet ({told}); write it again"
            yield RawRow(name, problem=Problem("invalid_parquet", message))
        except OSError as error:
            raise StorageError(f"{path} cannot be read ({error}); it must be there: try again") from error


def _paths(fs: fsspec.AbstractFileSystem, root: str) -> list[str]:
    fixed = re.split(r"[*?\[]", root)[0]
    if fixed != root:
        found, fixed = fs.glob(root), fixed.rpartition("/")[0]
    elif fs.isdir(root):
        found = fs.find(root)
    else:
        return [root] if fs.exists(root) and _is_table(root) else []
    return sorted(path for path in found if _is_table(path) and not _is_hidden(path.removeprefix(fixed)))


def _is_table(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _read_parquet(file: pq.ParquetFile, name: str, known_columns: frozenset[str]) -> Iterator[RawRow]:
    columns = file.schema_arrow.names
    unknown = dict.fromkeys(column for column in columns if column not in known_columns)
    known = [column for column in columns if column in known_columns]
    number = 0
    for group in range(file.num_row_groups):
        metadata = file.metadata.row_group(group)
        if _is_too_large(metadata, known):
            for _ in range(metadata.num_rows):
                number += 1
                message = f"its row group has more than {MAX_GROUP_BYTES} bytes in a column; write smaller groups"
                yield RawRow(f"{name}:{number}", problem=Problem("row_too_large", message))
            continue
        for batch in file.iter_batches(ROWS_PER_BATCH, row_groups=[group], columns=known):
            for fields in batch.to_pylist():
                number += 1
                yield RawRow(f"{name}:{number}", {**fields, **unknown})


def _is_too_large(group: pq.RowGroupMetaData, known: list[str]) -> bool:
    columns = (group.column(number) for number in range(group.num_columns))
    return any(
        column.total_uncompressed_size > MAX_GROUP_BYTES
        for column in columns
        if column.path_in_schema in known or column.path_in_schema.partition(".")[0] in known
    )
