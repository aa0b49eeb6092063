"""The command that makes a new checkpoint."""

import sys
from pathlib import Path

import pytest

from fv_ray.checkpoint import CheckpointInfo
from jobs.new_checkpoint import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["new_checkpoint", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_it_tells_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--output", tmp_path / "out", "--size", "tiny", "--seed", 3) == 0
    told = capsys.readouterr().out
    assert CheckpointInfo.read(tmp_path / "out").digest in told
    assert "stage_one_transformer: StageOneTransformer3DModel, 45,856 parameters, F32" in told


def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    assert run(monkeypatch, "--output", tmp_path) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} already exists; give a new folder or remove it first\n"
