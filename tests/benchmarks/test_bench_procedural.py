from pathlib import Path

from benchmarks.bench_procedural import HEAD, main
from tests.benchmarks.tables import output_of, rows_of


def test_both_resolutions_have_a_row() -> None:
    rows = rows_of(output_of(main, "--small", "--clips", "10"))
    assert tuple(rows[0]) == HEAD
    assert [row["frames, size"] for row in rows] == ["9, 32x48", "9, 128x192"]
    assert {rows[1][name] for name in ("shape", "colour", "texture")} == {"100.0 %"}
    assert all(float(row["drawn a second"]) > 0 for row in rows)


def test_it_writes_how_it_was_made(tmp_path: Path) -> None:
    output_of(main, "--small", "--clips", "1", "--output", str(tmp_path / "table.md"))
    assert "- command: `python -m benchmarks.bench_procedural --small" in (tmp_path / "table.md").read_text()
