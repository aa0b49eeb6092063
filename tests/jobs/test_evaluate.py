"""The whole job on a real Ray: a report of the world's prompts, one of a table, and none where it cannot be made."""

import csv
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import CheckpointError
from fv_ray.training.procedural.scene import ATTRIBUTES
from jobs.evaluate import evaluate, main
from jobs.evaluation.score_clips import FIGURES

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


def test_three_prompts_of_the_world_and_two_of_a_table(small_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "world"
    evaluate(output, small_checkpoint, num_prompts=3, batch_size=2, num_workers=1, num_pictures=2)
    assert {path.name for path in output.iterdir()} == {
        "report.json",
        "report.md",
        "prompts.csv",
        "shares.png",
        "sheet.png",
    }
    report = json.loads((output / "report.json").read_text())
    info = CheckpointInfo.read(small_checkpoint)
    assert report["checkpoint"] == {"name": "tiny", "digest": info.digest}
    assert report["request"] == info.presets["small"].model_dump()
    assert report["num_prompts"] == 3
    assert report["shares"]["video"].keys() == {*ATTRIBUTES, "readable"}
    assert report["shares"]["video"]["texture"] == {"num_right": 0, "num_asked": 3}
    assert report["means"].keys() == FIGURES.keys()
    with (output / "prompts.csv").open(newline="") as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    page = (output / "report.md").read_text()
    assert info.digest in page
    assert "| texture | 0.0 % (0/3) | 0.0 % (0/3) |" in page
    with Image.open(output / "sheet.png") as sheet:
        assert sheet.width == 6 * 64

    (tmp_path / "prompts.csv").write_text("prompt\na fox\na hare\n")
    output = tmp_path / "table"
    evaluate(output, small_checkpoint, prompts=str(tmp_path / "prompts.csv"), num_workers=1)
    report = json.loads((output / "report.json").read_text())
    assert (report["shares"], report["split"], report["num_prompts"]) == ({}, None, 2)
    assert not (output / "shares.png").exists()


def test_a_worker_s_error_is_one_of_ours_and_leaves_no_folder(small_checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "text_encoder").mkdir(parents=True)
    (broken / "model_index.json").write_bytes((small_checkpoint / "model_index.json").read_bytes())
    with pytest.raises(CheckpointError, match="stage_one_transformer"):
        evaluate(tmp_path / "out", broken, num_prompts=1, num_workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint=nothing"], "error: nothing is no checkpoint"),
        (["--num-prompts=0"], "error: num_prompts is 0"),
        (["--prompts=foreign.csv"], "error: foreign.csv is no table"),
        (["--prompts=other.csv"], "has no column 'prompt'; it has text"),
        (["--output=taken"], "error: taken already exists"),
        (["--size=16x32"], "at least 32 x 32 pixels"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    small_checkpoint: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("text\na\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    monkeypatch.setattr(sys, "argv", ["evaluate", f"--checkpoint={small_checkpoint}", "--output=out", *options])
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
