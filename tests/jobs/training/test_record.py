"""A run's metrics: means of what was added, and nothing of steps that are done again."""

import json
from pathlib import Path

import pytest

from jobs.training.record import Failure, RunRecord, forget_failure, read_failure, read_metrics, write_failure


def add(record: RunRecord, steps: range, losses: float = 1.0, log_every: int = 2) -> None:
    for step in steps:
        metrics = {"loss": losses * step, "learning_rate": step / 10}
        record.add(step, metrics, is_logged=step % log_every == 0)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_line_holds_means_since_the_last_one(tmp_path: Path, prefix: str) -> None:
    record = RunRecord(f"{prefix}{tmp_path}/run", 0)
    add(record, range(1, 5))
    record.close()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"], line["learning_rate"]) for line in lines] == [(2, 1.5, 0.2), (4, 3.5, 0.4)]
    assert lines == read_metrics(f"{prefix}{tmp_path}/run")
    assert [path.name.startswith("events.") for path in (tmp_path / "run" / "tensorboard").iterdir()] == [True]


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    first = RunRecord(str(tmp_path), 0)
    add(first, range(1, 9))
    first.close()
    second = RunRecord(str(tmp_path), 4)
    add(second, range(5, 7), losses=10.0)
    second.close()
    lines = read_metrics(str(tmp_path))
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.5), (4, 3.5), (6, 55.0)]
    assert [line["elapsed_s"] for line in lines] == sorted(line["elapsed_s"] for line in lines)


def test_a_run_that_has_written_nothing_has_no_lines(tmp_path: Path) -> None:
    assert read_metrics(str(tmp_path / "run")) == []
    assert read_failure(str(tmp_path / "run")) is None
    forget_failure(str(tmp_path / "run"))


def test_a_failure_is_told_until_it_is_forgotten(tmp_path: Path) -> None:
    failure = Failure("step 3 gave a loss of nan", is_numerical=True)
    write_failure(str(tmp_path), failure)
    assert read_failure(f"file://{tmp_path}") == failure
    forget_failure(str(tmp_path))
    assert read_failure(str(tmp_path)) is None
