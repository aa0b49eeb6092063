"""The URL of a prompt table to raw rows, in a fixed order: CSV, JSONL, Parquet or plain text; files, folders, globs.

Knows nothing of what a row may say. Whatever is in a file, memory stays bounded, and what cannot be read is a row with
a problem.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fv_ray.errors import InputError, StorageError, StoreUnavailable
from jobs.generation.ask_store import ask
from jobs.generation.read_lines import RawRow, read_csv, read_jsonl, read_text
from jobs.generation.read_parquet import read_parquet

SUFFIXES = (".csv", ".jsonl", ".parquet", ".txt")
PROTOCOLS = ("file", "gs", "https", "memory", "s3")

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
        StoreUnavailable: its store does not answer.
    """
    if "::" in source or ("://" in source and source.partition("://")[0] not in PROTOCOLS):
        told = f"allowed are files and {', '.join(f'{name}://' for name in PROTOCOLS)}, and no chain of them"
        raise InputError(f"the input is {source!r}; {told}: give another URL")
    fs, root, paths = ask(_look, source)
    if not paths:
        raise InputError(f"there is no table at {source}; allowed are {', '.join(SUFFIXES)}: give one, or a folder")
    folder = root if len(paths) > 1 or paths[0] != root else root.rpartition("/")[0]
    return Table(fs, tuple((path, _name(path.removeprefix(folder).lstrip("/"))) for path in paths))


def read_prompts(table: Table, known_columns: frozenset[str]) -> Iterator[RawRow]:
    """Every row of every file.

    Args:
        table: of `find_tables`.
        known_columns: of Parquet, whose others are not read but for their names.

    Raises:
        StorageError: a file cannot be read.
        StoreUnavailable: its store does not answer any more.
    """
    for path, name in table.files:
        suffix = PurePosixPath(path).suffix.lower()
        with _reading(table.fs, path), table.fs.open(path, "rb") as file:
            if suffix == ".parquet":
                yield from read_parquet(_Stored(file, table.fs, path), name, known_columns)  # type: ignore[arg-type]
            else:
                with io.BufferedReader(file) as lines:  # fsspec's own readline knows no limit
                    yield from _LINE_READERS[suffix](lines, name)


@contextmanager
def _reading(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[None]:
    """Makes StorageErrors of the store's errors."""
    try:
        with _store_errors(fs, path):
            yield
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error}); it must be there: try again") from error


class _Stored:
    """What Arrow needs of a file, and its store's errors apart from Arrow's own OSErrors."""

    def __init__(self, file: BinaryIO, fs: fsspec.AbstractFileSystem, path: str) -> None:
        self._file, self._fs, self._path = file, fs, path

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read(self, num_bytes: int = -1) -> bytes:
        with _reading(self._fs, self._path):
            return self._file.read(num_bytes)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _reading(self._fs, self._path):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _look(source: str) -> tuple[fsspec.AbstractFileSystem, str, list[str]]:
    """The file system of a URL, its path there, and the paths of its tables."""
    try:
        fs, root = fsspec.core.url_to_fs(source)
        with _store_errors(fs, source):
            return fs, root, _paths(fs, root)
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"{source} cannot be looked at ({error}); it must be there: give another input") from error


@contextmanager
def _store_errors(fs: fsspec.AbstractFileSystem, place: str) -> Iterator[None]:
    """Tell what the library of an object store raises while that does not answer, which is of no common kind."""
    try:
        yield
    except (FileNotFoundError, NotImplementedError, PermissionError, StorageError, TypeError, ValueError):
        raise
    except Exception as error:
        if isinstance(fs, LocalFileSystem):
            raise
        raise StoreUnavailable(
            f"{place} cannot be reached ({type(error).__name__}: {error}); the store must answer: try again later"
        ) from error


def _paths(fs: fsspec.AbstractFileSystem, root: str) -> list[str]:
    fixed = re.split(r"[*?\[]", root)[0]
    if fixed != root:
        found, fixed = fs.glob(root), fixed.rpartition("/")[0]
    elif fs.isdir(root):
        found = fs.find(root)
    else:
        return [root] if fs.exists(root) and _is_table(root) else []
    return sorted(path for path in found if _is_table(path) and not _is_hidden(path.removeprefix(fixed)))


def _name(path: str) -> str:
    """As JSON and Parquet can hold it: bytes of a disk's names that are no UTF-8 are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def _is_table(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))
