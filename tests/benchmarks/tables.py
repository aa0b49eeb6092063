"""Reads back the Markdown tables that the benchmarks print."""

import contextlib
import io
from collections.abc import Callable, Sequence


def output_of(main: Callable[[Sequence[str]], None], *arguments: str) -> str:
    """What a benchmark prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        main(arguments)
    return output.getvalue()


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of the one table in `text`, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head, rule, *rows = lines
    assert set("".join(rule)) <= set(":- ")
    return [dict(zip(head, row, strict=True)) for row in rows]
