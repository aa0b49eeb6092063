from pathlib import Path

from benchmarks.bench_database import HEAD, main
from tests.benchmarks.tables import output_of, rows_of


def test_each_kind_of_call_has_a_row(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/videos.sqlite"
    rows = rows_of(output_of(main, url, "--queued", "20", "--calls", "5", "--clients", "2"))
    assert tuple(rows[0]) == HEAD
    assert [row[""] for row in rows] == ["accept", "read", "claim"]
    assert all(float(row[name]) > 0 for row in rows for name in HEAD[1:3])
