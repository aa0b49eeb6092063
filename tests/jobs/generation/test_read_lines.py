"""Rows that cannot be read are told and cost no other row."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.generation import read_lines
from jobs.generation.read_lines import RawRow, read_csv, read_jsonl, read_text

Reader = Callable[[BinaryIO, str], Iterator[RawRow]]


def told(reader: Reader, data: bytes) -> list[tuple[str, object]]:
    """Place and problem, or prompt, of each row."""
    rows = reader(io.BytesIO(data), "t")
    return [(row.place, row.problem.code if row.problem else row.fields["prompt"]) for row in rows]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"\xef\xbb\xbfid,prompt\r\na,fox\r\n", [("t:2", "fox")]),
        (b'prompt\n"open\nfox\n"the ""cat"""\n', [("t:2", "invalid_csv"), ("t:3", "fox"), ("t:4", 'the "cat"')]),
        (b'id,prompt\na,"over\ntwo lines"\nb,fox', [("t:2", "over\ntwo lines"), ("t:4", "fox")]),
        (b'id,prompt\na,fox\nb,"open', [("t:2", "fox"), ("t:3", "invalid_csv")]),
        (b"id,prompt\na,fox,more\nb\nc,cat\n", [("t:2", "invalid_csv"), ("t:3", "invalid_csv"), ("t:4", "cat")]),
        (b"prompt,prompt\na,b\n", [("t:1", "invalid_csv")]),
        (b'prompt\nbad\xff\nfox\n', [("t:2", "not_utf8"), ("t:3", "fox")]),
        (b'prompt\n"open\nbad\xff\nfox', [("t:2", "invalid_csv"), ("t:3", "not_utf8"), ("t:4", "fox")]),
        (b"\xff\xfep\x00", [("t:1", "not_utf8")]),
        (b"\n\nprompt\n\nfox\n", [("t:5", "fox")]),
        (b"", []),
    ],
)  # fmt: skip
def test_broken_csv_costs_its_own_rows(data: bytes, rows: list[tuple[str, object]]) -> None:
    assert told(read_csv, data) == rows


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b"1", b'{"prompt": NaN}', b'{"prompt": "cut', b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}"],
)
def test_broken_json_costs_its_own_row(line: bytes) -> None:
    data = b'{"prompt": "fox"}\n' + line + b'\n{"prompt": "cat"}\n' + line
    problem = [("t:2", "invalid_json"), ("t:3", "cat"), ("t:4", "invalid_json")]
    assert told(read_jsonl, data) == [("t:1", "fox"), *problem]


def test_text_is_a_prompt_a_line() -> None:
    assert told(read_text, b"\xef\xbb\xbf a fox \r\n\n,\"'\nbad\xff\n") == [
        ("t:1", "a fox"),
        ("t:3", ",\"'"),
        ("t:4", "not_utf8"),
    ]


class Endless(io.RawIOBase):
    """A file of one field; counts what is asked for at a time."""

    def __init__(self, num_bytes: int) -> None:
        self._left, self.most = num_bytes, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        self.most = max(self.most, size)
        num_bytes = min(size, self._left)
        self._left -= num_bytes
        return b"x" * num_bytes


@pytest.mark.parametrize("reader", [read_csv, read_jsonl, read_text])
def test_a_field_of_a_gigabyte_is_never_in_memory(reader: Reader) -> None:
    file = Endless(2**30)
    (row,) = reader(file, "t")  # type: ignore[arg-type]
    assert row.problem is not None
    assert row.problem.code == "row_too_large"
    assert 0 < file.most <= read_lines.MAX_LINE_BYTES + 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_what_a_writer_writes_is_read(rows: list[tuple[str, str]]) -> None:
    rows = [tuple(cell.replace("\r", "").encode("utf-8", "ignore").decode() for cell in row) for row in rows]  # type: ignore[misc]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("id", "prompt"), *rows])
    found = list(read_csv(io.BytesIO(text.getvalue().encode()), "t"))
    assert [(row.fields.get("id"), row.fields.get("prompt")) for row in found] == rows
    lines = "".join(json.dumps({"id": row[0], "prompt": row[1]}) + "\n" for row in rows)
    found = list(read_jsonl(io.BytesIO(lines.encode()), "t"))
    assert [(row.fields["id"], row.fields["prompt"]) for row in found] == rows


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_stop_a_reader(data: bytes) -> None:
    for reader in (read_csv, read_jsonl, read_text):
        for row in reader(io.BytesIO(b"prompt\n" + data), "t"):
            assert row.problem is None or not row.fields
