import json
import sys
from io import StringIO

import pytest

from jobs.generation import report_progress as module
from jobs.generation.report_progress import ProgressReport
from jobs.generation.watch_rows import StageFigures

FIGURES = {
    "stage_one": StageFigures(num_made=2, useful_s=3.04),
    "stage_two": StageFigures(num_made=1, num_failed=1, num_lost=1, useful_s=5),
}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_there_is_a_json_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0)
    with ProgressReport({"stage_one": 4, "stage_two": 8}) as report:
        report.tell({"stage_one": 2, "stage_two": 2}, FIGURES)
    told = json.loads(capsys.readouterr().err)
    assert told["stage_one"] == {"total": 4, "ended": 2, "failed": 0, "lost": 0, "device_s": 3.0}
    assert told["stage_two"] == {"total": 8, "ended": 2, "failed": 1, "lost": 1, "device_s": 5.0}
    assert told["rows_per_s"] > 0
    assert told["left_s"] is not None


def test_nobody_knows_what_is_left_before_a_row_has_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0)
    with ProgressReport({"stage_one": 4}) as report:
        report.tell({"stage_one": 0, "stage_two": 0}, FIGURES)
    told = json.loads(capsys.readouterr().err)
    assert (told["rows_per_s"], told["left_s"]) == (0, None)
    assert "stage_two" not in told


def test_a_line_is_not_told_each_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 3600)
    with ProgressReport({"stage_one": 4}) as report:
        for ended in range(4):
            report.tell({"stage_one": ended, "stage_two": 0}, FIGURES)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with ProgressReport({"stage_one": 4, "stage_two": 8}) as report:
        report.tell({"stage_one": 3, "stage_two": 2}, FIGURES)
    shown = terminal.getvalue()
    assert "stage_one" in shown
    assert "3/4" in shown
    assert "2/8" in shown
    assert "{" not in shown
