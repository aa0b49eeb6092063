"""Lines of CSV, JSONL and plain text to raw rows, in bounded memory whatever the bytes are.

A row that cannot be read is a row with a problem; the next line is read as if nothing had been. An open quote swallows
the lines behind it: they are given back.
"""

import csv
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn

MAX_LINE_BYTES = 2**20
"""Of a line and of a row: three times what the longest prompt takes, escaped."""
MAX_ROW_LINES = 2_000
"""Of a quoted field that goes over several."""
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_SKIP_BYTES = 2**16


@dataclass(frozen=True)
class Problem:
    """Why a row is not made."""

    code: str
    message: str


@dataclass(frozen=True)
class RawRow:
    """A row as it was written."""

    place: str
    """Where it stands: the file's name within the input, and line or row, from 1."""
    fields: Mapping[str, object] = field(default_factory=dict)
    has_text_only: bool = False
    """Numbers are text, as in CSV."""
    problem: Problem | None = None
    """Why it cannot be read; it has no fields then."""


@dataclass(frozen=True)
class Line:
    """A line, without its end."""

    number: int
    text: str
    problem: Problem | None = None


def read_text(file: BinaryIO, name: str) -> Iterator[RawRow]:
    """A prompt a line."""
    for line in _lines(file):
        place = f"{name}:{line.number}"
        if line.problem or line.text.strip():
            fields = {} if line.problem else {"prompt": line.text.strip()}
            yield RawRow(place, fields, has_text_only=True, problem=line.problem)


def read_jsonl(file: BinaryIO, name: str) -> Iterator[RawRow]:
    """A JSON object a line."""
    for line in _lines(file):
        place = f"{name}:{line.number}"
        if line.problem:
            yield RawRow(place, problem=line.problem)
        elif line.text.strip():
            yield _json_row(place, line.text)


def read_csv(file: BinaryIO, name: str) -> Iterator[RawRow]:
    """A header with the columns' names, then rows; RFC 4180."""
    waiting: deque[Line] = deque()
    lines = _lines(file)
    header: Sequence[str] | None = None
    while (record := _csv_record(waiting, lines)) is not None:
        number, found = record
        place = f"{name}:{number}"
        if isinstance(found, Problem):
            yield RawRow(place, problem=found)
        elif header is None:
            header = [column.strip() for column in found] or None
            if header and (problem := _header_problem(header)):
                yield RawRow(place, problem=problem)
                return
        elif found:
            yield _csv_row(place, header, found)


def _lines(file: BinaryIO) -> Iterator[Line]:
    """Each line, or why it is none; no more than a line's limit is ever held."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1 and data.startswith(_WIDE_BOMS):
            yield Line(1, "", Problem("not_utf8", "the file is UTF-16 and UTF-8 is allowed; write it again as UTF-8"))
            return
        if len(data) > MAX_LINE_BYTES:
            while data and not data.endswith(b"\n"):
                data = file.readline(_SKIP_BYTES)
            message = f"the line has more than {MAX_LINE_BYTES} bytes, which are allowed; shorten it"
            yield Line(number, "", Problem("row_too_large", message))
            continue
        try:
            yield Line(number, data.removeprefix(_BOM if number == 1 else b"").decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as error:
            message = (
                f"byte {error.start} of the line is {error.object[error.start]:#04x}, which is no UTF-8; write it again"
            )
            yield Line(number, "", Problem("not_utf8", message))


def _json_row(place: str, text: str) -> RawRow:
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, ValueError) else "too many brackets"
        return RawRow(place, problem=Problem("invalid_json", f"the line is no JSON ({told}); write an object a line"))
    if not isinstance(fields, dict):
        message = f"the line is a {type(fields).__name__}; an object is allowed: write one with a prompt"
        return RawRow(place, problem=Problem("invalid_json", message))
    return RawRow(place, fields)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _csv_record(waiting: deque[Line], lines: Iterator[Line]) -> tuple[int, list[str] | Problem] | None:
    """The next record with the number of its first line; lines that turn out not to be its own go back to wait."""
    used: list[Line] = []
    try:
        cells = next(csv.reader(_taken(waiting, lines, used), strict=True), None)
    except (csv.Error, _BadLine) as error:
        first, *swallowed = used
        waiting.extendleft(reversed(swallowed))
        told = "a quote is not closed" if swallowed else str(error)
        problem = Problem("invalid_csv", f"the row cannot be read ({told}); quote fields and double their quotes")
        return first.number, first.problem or problem
    return None if cells is None else (used[0].number, cells)


class _BadLine(Exception):
    """A record came to a line that cannot be read, or to too many of them."""


def _taken(waiting: deque[Line], lines: Iterator[Line], used: list[Line]) -> Iterator[str]:
    """What the next record may be made of; each line that is given is noted as used."""
    num_characters = 0
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        used.append(line)
        num_characters += len(line.text)
        if line.problem or len(used) > MAX_ROW_LINES or num_characters > MAX_LINE_BYTES:
            raise _BadLine
        yield line.text + "\n"


def _header_problem(header: Sequence[str]) -> Problem | None:
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        message = f"the column {repeated[0]!r} is there twice; each may be there once: rename one"
        return Problem("invalid_csv", message)
    return None


def _csv_row(place: str, header: Sequence[str], cells: Sequence[str]) -> RawRow:
    if len(cells) != len(header):
        message = (
            f"the row has {len(cells)} fields and the header {len(header)}; they must agree: quote what holds commas"
        )
        return RawRow(place, problem=Problem("invalid_csv", message))
    return RawRow(place, dict(zip(header, cells, strict=True)), has_text_only=True)
