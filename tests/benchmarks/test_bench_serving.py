from pathlib import Path

import pytest

from tests.benchmarks.tables import output_of, rows_of


@pytest.mark.ray
def test_each_kind_of_video_has_a_row(ray_local: None, small_checkpoint: Path) -> None:  # noqa: ARG001
    from benchmarks.bench_serving import HEAD, main  # it needs Ray

    output = output_of(main, str(small_checkpoint), "--videos", "1", "--requests", "4", "--clients", "2")
    rows = rows_of(output)
    assert tuple(rows[0]) == HEAD
    assert [row[""] for row in rows] == ["preview", "video"]
    assert all(float(row[name]) > 0 for row in rows for name in HEAD[1:3])
    assert "creates and" in output
