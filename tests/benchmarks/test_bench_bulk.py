from pathlib import Path

import pytest

from tests.benchmarks.tables import output_of, rows_of


@pytest.mark.ray
def test_each_way_and_each_number_of_rows_has_a_row(ray_local: None, small_checkpoint: Path) -> None:  # noqa: ARG001
    from benchmarks.bench_bulk import COST_HEAD, HEAD, main  # it needs Ray

    output = output_of(main, str(small_checkpoint), "--rows", "2", "--moved", "1", "--curve", "2", "3")
    first, second = output.split("- the best: ")
    ways, costs = rows_of(first), rows_of(second)
    assert tuple(ways[0]) == HEAD
    assert [row[""] for row in ways] == ["loop", "released script's pattern", "job"]
    assert all(float(row["rows a minute"]) > 0 for row in ways)
    assert [row["rows"] for row in costs] == ["2", "3"]
    assert all(float(row[name]) > 0 for row in costs for name in COST_HEAD[1:6])
