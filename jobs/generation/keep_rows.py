"""Checked rows to a file on the driver's disk, so that a long table is never in memory, and to a digest of them all."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.generation.check_rows import Row


@dataclass(frozen=True)
class KeptRows:
    """All rows of an input, in order; iterate as often as needed."""

    file: Path
    num_rows: int
    num_refused: int
    """With a problem."""
    sha256: str
    """Of what the rows ask for: ids and keys, in order, before prompts are enhanced."""
    sha256_at: Mapping[int, str]
    """The same of the first so many rows."""
    first_refused: Row | None

    def __iter__(self) -> Iterator[Row]:
        with self.file.open("rb") as file:
            for line in file:
                yield Row.model_validate_json(line)


def keep_rows(rows: Iterable[Row], file: Path, marks: Collection[int] = ()) -> KeptRows:
    """Write all rows down.

    Args:
        rows: of `check_rows`.
        file: a new file.
        marks: numbers of rows after which the digest is wanted too.
    """
    digest, sha256_at = hashlib.sha256(), {}
    num_rows, num_refused, first_refused = 0, 0, None
    with file.open("wb") as kept:
        for row in rows:
            kept.write(row.model_dump_json().encode() + b"\n")
            digest.update(f"{row.id}\t{row.problem.code if row.problem else row.key}\n".encode())
            num_rows += 1
            if row.problem is not None:
                num_refused += 1
                first_refused = first_refused or row
            if num_rows in marks:
                sha256_at[num_rows] = digest.hexdigest()
    return KeptRows(file, num_rows, num_refused, digest.hexdigest(), sha256_at, first_refused)
