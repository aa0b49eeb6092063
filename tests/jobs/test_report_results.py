"""The whole page on a real Ray, from a checkpoint with random weights; and what it refuses."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from fv_ray.checkpoint import CheckpointInfo
from jobs.report_results import main, report_results

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


@pytest.mark.timeout(900)  # a prompt is refined 25 times
def test_one_command_writes_the_page_and_its_plots(small_checkpoint: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    report_results(
        str(small_checkpoint),
        page,
        num_prompts=1,
        num_sweep_prompts=1,
        num_cost_videos=1,
        ablation=[f"no degradation={small_checkpoint}"],
        num_workers=1,
    )
    text = page.read_text()
    assert CheckpointInfo.read(small_checkpoint).digest in text
    assert re.findall(r"^## .*", text, re.MULTILINE) == [
        "## Does the video show what the prompt says?",
        "## What does stage two add to its input?",
        "## How many evaluations does stage two need?",
        "## Guidance and noise level",
        "## How straight is stage two's path?",
        "## Degradations",
        "## What does a video cost?",
    ]
    plots = re.findall(r"\]\((images/results_\w+\.png)\)", text)
    assert len(plots) == 6
    for plot in plots:
        path = page.parent / plot
        with Image.open(path) as picture:
            assert picture.width > 300
        assert path.stat().st_size < 150_000
    assert "nan" not in text
    assert sorted(path.name for path in page.parent.iterdir()) == ["images", "results.md"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ablation=nothing"], "error: --ablation is 'nothing'; it must be NAME=VALUE"),
        (["--num-sweep-prompts=0"], "error: num_prompts is 0"),
        (["--from-noise-checkpoint=nothing"], "error: nothing is no checkpoint"),
        (["--single-stage-checkpoint=nothing"], "error: nothing is no checkpoint"),
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
    arguments = [f"--checkpoint={small_checkpoint}", f"--output={tmp_path}/results.md", *options]
    monkeypatch.setattr(sys, "argv", ["report_results", *arguments])
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not any(tmp_path.iterdir())
