import json
from pathlib import Path

import pytest
import torch

from benchmarks import stage_phases
from benchmarks.bench_stages import HEAD, NONE, main
from benchmarks.random_stages import PARTS, load_stages, tiny
from tests.benchmarks.tables import output_of, rows_of

TINY = ("--device", "cpu", "--evaluations", "1")
PHASES = [
    stage_phases.STAGE_ONE,
    stage_phases.PREVIEW_DECODE,
    stage_phases.PREVIEW_UINT8,
    stage_phases.UPSAMPLE,
    stage_phases.ENCODE,
    stage_phases.STAGE_TWO,
    stage_phases.DECODE,
    stage_phases.DECODE_SLICED,
    stage_phases.VIDEO_UINT8,
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results") / "stages.md"


@pytest.fixture(scope="module")
def output(file: Path) -> str:
    return output_of(main, "--size", "tiny", *TINY, "--output", str(file))


def test_every_phase_has_a_row(output: str) -> None:
    rows = rows_of(output)
    assert tuple(rows[0]) == HEAD
    names = [row["phase"] for row in rows]
    assert names == [f"{phase}, native, eager" if phase.startswith("stage") else phase for phase in PHASES]


def test_the_shares_are_of_the_whole_video(output: str) -> None:
    shares = {row["phase"]: float(row["share of the video"]) for row in rows_of(output) if _has_share(row)}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert set(shares).isdisjoint({stage_phases.PREVIEW_UINT8, stage_phases.DECODE_SLICED})


def test_the_columns_agree(output: str) -> None:
    for row in rows_of(output):
        each, seconds = float(row["seconds each"]), float(row["seconds"])
        assert seconds == pytest.approx(int(row["evaluations"]) * each, rel=2e-3)
        if row["TFLOP each"] != NONE:
            assert float(row["TFLOP/s"]) == pytest.approx(float(row["TFLOP each"]) / each, rel=2e-3)


def test_both_presets_are_summed_end_to_end(output: str) -> None:
    for line in (
        "preview, preset paper, 50 evaluations: ",
        "video, preset paper, 50 + 4 evaluations: ",
        "preview, preset released, 51 evaluations: ",
        "video, preset released, 51 + 5 evaluations: ",
    ):
        assert f"- {line}" in output


def test_the_file_tells_how_to_make_it_again(output: str, file: Path) -> None:
    written = file.read_text("utf-8")
    assert written.endswith(output)
    assert f"torch {torch.__version__}" in written
    assert "python -m benchmarks.bench_stages --size tiny --device cpu --evaluations 1" in written


def test_a_missing_attention_backend_says_so_in_its_row() -> None:
    options = ("--attention-backends", "native,flash,unheard_of", "--only", "stage_two")
    output = output_of(main, "--size", "tiny", *TINY, *options)
    there, missing, unknown = rows_of(output)
    assert there["seconds"] != NONE
    for row in (missing, unknown):
        assert "not available" in row["phase"]
        assert {value for column, value in row.items() if column != "phase"} == {NONE}
    assert "preset" not in output
    assert not _has_share(there)


def test_phases_that_were_not_asked_for_are_not_measured() -> None:
    rows = rows_of(output_of(main, "--size", "tiny", *TINY, "--only", "vae", "--dtype", "bfloat16"))
    assert [row["phase"] for row in rows] == [phase for phase in PHASES if not phase.startswith("stage")]
    assert not any(_has_share(row) for row in rows)


@pytest.mark.parametrize(
    "arguments", [(), ("--size", "huge"), ("--size", "tiny", "--only", "mp4"), ("--size", "tiny", "--evaluations", "0")]
)
def test_a_wrong_argument_ends_before_anything_runs(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_a_checkpoint_folder_is_measured_with_its_own_preset(tmp_path: Path) -> None:
    subject = tiny()
    stages = load_stages(subject, torch.device("cpu"), torch.float32, PARTS)
    stages.stage_one.transformer.save_pretrained(tmp_path / "stage_one_transformer")
    stages.stage_two.transformer.save_pretrained(tmp_path / "stage_two_transformer")
    stages.stage_one.vae.save_pretrained(tmp_path / "vae")
    (tmp_path / "model_index.json").write_text(json.dumps({"fv_ray": subject.checkpoint.model_dump()}))

    rows = rows_of(output_of(main, "--checkpoint", str(tmp_path), *TINY))
    assert len(rows) == len(PHASES)
    assert sum(float(row["share of the video"]) for row in rows if _has_share(row)) == pytest.approx(1, abs=1e-3)


def _has_share(row: dict[str, str]) -> bool:
    return row["share of the video"] != NONE
