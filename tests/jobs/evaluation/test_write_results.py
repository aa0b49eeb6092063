"""The page from figures that are known: what is asked for is met or not, peaks are found, what is missing is said."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.evaluation.choose_prompts import world_prompts
from jobs.evaluation.score_clips import FIGURES, KINDS, Score
from jobs.evaluation.sweep_stages import Record
from jobs.evaluation.write_results import Results, write_results


def scores(num_wrong_colours: int = 0) -> list[Score]:
    """Ten prompts, of which everything is right but some colours, and the textures of previews."""
    found = []
    for prompt in world_prompts(10, "held_out", 0):
        seen = {kind: dict(prompt.expected) for kind in KINDS}
        seen["preview"]["texture"] = "plain"
        if prompt.number < num_wrong_colours:
            seen["video"]["colour"] = "none"
        figures = dict.fromkeys(FIGURES, 30.0)
        found.append(
            Score(prompt.number, prompt.seed, prompt.text, 0, prompt.expected, seen, dict.fromkeys(KINDS, 1.0), figures)
        )
    return found


def records(gain_db: float) -> list[Record]:
    ways = {"stage_two": 20.0 + gain_db, "bilinear": 20.0, "autoencoder": 30.0}
    upsampling = {f"{way}_psnr": decibels for way, decibels in ways.items()}
    upsampling |= {f"{way}_{figure}": 0.5 for way in ways for figure in ("ssim", "texture")}
    found = [Record("upsampling", 0, 0, upsampling)]
    for study in ("evaluations", "stage_two_guidance", "noise_level"):
        found += [Record(study, at, 0, {"psnr": 20.0 + at % 3, "texture": 1.0}) for at in (1, 2, 3)]
    found += [Record("stage_one_guidance", at, 0, {"colour": float(at == 8)}) for at in (1, 8, 16)]
    return found + [Record("straightness", at, 0, {"degrees": 2.0 * at}) for at in (1, 2, 3)]


@pytest.fixture
def results() -> Results:
    return Results(
        command="python -m jobs.report_results --checkpoint here",
        name="small",
        digest="sha256:12",
        sizes="9 frames",
        scores=scores(),
        num_sweep_prompts=1,
        records=records(4.0),
        straightness_from_noise=[],
        ablations={},
        cpu_seconds={"stage one: denoise": 0.5, "stage two: refine": 1.5},
        flops={"stage one: denoise": 1e9, "stage two: refine": 3e9},
        single_stage_flops={"single stage: denoise": 8e9},
    )


def test_figures_stand_where_they_are_asked_for(results: Results, tmp_path: Path) -> None:
    page = write_results(results, tmp_path, "images")
    assert "| colour | 100.0 % (10/10) | 100.0 % (10/10) | 95 %, met |" in page
    num_plain = sum(each.expected["texture"] == "plain" for each in results.scores)
    assert f"the share of plain prompts, is {10 * num_plain}.0 % ({num_plain}/10)" in page
    assert "+4.00 dB; asked for +3 dB, met" in page
    assert "| 2 | 22.00 dB | 100.0 % |" in page
    assert "Best: psnr at 2; texture at 1 and 2 and 3." in page
    assert "Best: colour at 8." in page
    assert "| from the preview | 4.0 | 6.0 |" in page
    assert "| **two stages** | **2.000** | **4.00** |" in page
    assert "takes 2.00 times the operations of both stages. That is counted, not run" in page
    assert "No checkpoint that starts from noise was given" in page
    assert "No checkpoints with other degradations were given" in page
    assert {f"images/{path.name}" for path in tmp_path.iterdir()} == set(re.findall(r"\]\((images/.*?)\)", page))
    assert all(path.stat().st_size < 150_000 for path in tmp_path.iterdir())


def test_what_is_not_met_is_said(results: Results, tmp_path: Path) -> None:
    page = write_results(replace(results, scores=scores(2), records=records(1.0)), tmp_path, "images")
    assert "| colour | 100.0 % (10/10) | 80.0 % (8/10) | 95 %, not met |" in page
    assert "+1.00 dB; asked for +3 dB, not met" in page


def test_further_checkpoints_stand_beside_this_one(results: Results, tmp_path: Path) -> None:
    further = replace(
        results,
        straightness_from_noise=[Record("straightness", 1, 0, {"degrees": 40.0})],
        ablations={"none": ("sha256:34", scores(5))},
        single_stage_cpu_seconds={"single stage: denoise": 6.0},
    )
    page = write_results(further, tmp_path, "images")
    assert "| from noise | 40.0 | 40.0 |" in page
    assert re.search(r"\| this checkpoint \(`sha256:12`\) \| 100.0 % \| 100.0 % ", page)
    assert re.search(r"\| none \(`sha256:34`\) \| 100.0 % \| 50.0 % ", page)
    assert "takes 3.00 times the CPU time of both stages" in page
    assert "counted, not run" not in page
