"""Runs in which nothing is made: what they leave or why they are refused, without a Ray."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer

from fv_ray.errors import InputError
from jobs import generate as module
from jobs.generate import generate


def run(checkpoint: Path, output: Path, **options: Any) -> int:
    """The exit status."""
    try:
        generate(checkpoint=checkpoint, output=str(output), **options)
    except typer.Exit as end:
        return end.exit_code
    return 0


def codes(output: Path) -> list[str]:
    return pq.read_table(output / "errors" / "v0001")["code"].to_pylist()


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_rows", lambda *_: pytest.fail("Ray was asked"))


def test_a_table_of_bad_rows_alone_is_a_run_with_errors(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, output = tmp_path / "bad.jsonl", tmp_path / "out"
    table.write_text('{"text": "a fox"}\n{\n')
    for _ in range(2):
        assert run(small_checkpoint, output, source=str(table)) == module.WITH_ERRORS
        assert (
            "2 of 2 rows cannot be made, the first one bad.jsonl:1: there is no field 'text'" in capsys.readouterr().err
        )
    assert codes(output) == ["unknown_field", "invalid_json"]
    assert pq.read_table(output / "manifest" / "v0001")["status"].to_pylist() == ["error", "error"]
    success = json.loads((output / "_SUCCESS.json").read_text())
    assert (success["num_rows"], success["num_made"], success["num_errors"]) == (2, 0, 2)
    assert json.loads((output / "report.json").read_text())["num_errors"] == 2


def test_too_many_bad_rows_are_told_by_the_exit_status(small_checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "bad.jsonl"
    table.write_text("{\n")
    status = run(small_checkpoint, tmp_path / "out", source=str(table), max_error_rate=0.5)
    assert status == module.TOO_MANY_ERRORS


def test_an_empty_table_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "empty.csv"
    table.write_text("prompt\n")
    with pytest.raises(InputError, match=r"empty\.csv has no row; one at least must be there"):
        run(small_checkpoint, tmp_path / "out", source=str(table))
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize(
    "options", [{"preset": "small"}, {"changes": ["stage_two.shift=2", "stage_one.height=32"]}, {"seed": 1}], ids=str
)
def test_chosen_previews_stay_as_they_are(small_checkpoint: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    table = tmp_path / "chosen.csv"
    table.write_text("id\nfox\n")
    with pytest.raises(InputError, match=r"is given with --from-previews; previews stay as they are"):
        run(small_checkpoint, tmp_path / "out", from_previews=str(tmp_path / "run"), select=str(table), **options)
