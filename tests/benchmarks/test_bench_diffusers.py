import re

import pytest

from benchmarks.bench_diffusers import HEAD, WHOLE, main
from tests.benchmarks.tables import output_of, rows_of

PARTS = ["stage one", "preview decode", "upsample", "VAE encode", "stage two", "VAE decode"]


@pytest.fixture(scope="module")
def output() -> str:
    return output_of(main, "--size", "tiny", "--stage-one-steps", "2", "--stage-two-steps", "2", "--repeats", "1")


def test_every_part_has_a_row(output: str) -> None:
    rows = rows_of(output)
    assert tuple(rows[0]) == HEAD
    assert [row["part"] for row in rows] == [*PARTS, WHOLE]


@pytest.mark.parametrize("side", ["diffusers s", "fv-ray s"])
def test_the_last_row_is_the_sum(output: str, side: str) -> None:
    *parts, whole = (float(row[side]) for row in rows_of(output))
    assert whole == pytest.approx(sum(parts), rel=2e-3)


def test_a_ratio_is_of_the_two_times(output: str) -> None:
    for row in rows_of(output):
        ratio = float(row["diffusers s"]) / float(row["fv-ray s"])
        assert float(row["ratio"]) == pytest.approx(ratio, abs=0.01, rel=2e-3)


def test_both_made_the_same_frames(output: str) -> None:
    found = re.search(r"relative difference of the frames: (\S+)", output)
    assert found
    assert float(found[1]) < 1e-4
