import pytest

from benchmarks.bench_start import HEAD, HEAD_AGAINST, PROGRAMS, ROOT, main
from tests.benchmarks.tables import output_of, rows_of


def test_each_program_has_a_row() -> None:
    rows = rows_of(output_of(main, "--runs", "1"))
    assert tuple(rows[0]) == HEAD
    assert [row[""] for row in rows] == list(PROGRAMS)
    assert all(float(row[name]) > 0 for row in rows for name in HEAD[1:])


def test_another_revision_stands_beside_it() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no other revision")
    rows = rows_of(output_of(main, "--runs", "1", "--against", "HEAD"))
    assert tuple(rows[0]) == HEAD_AGAINST
    assert [row[""] for row in rows] == list(PROGRAMS)
    assert all(float(row["CPU"].removesuffix("x")) > 0 for row in rows)
