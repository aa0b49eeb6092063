"""The command that puts a checkpoint together."""

import sys
from pathlib import Path

import pytest

from fv_ray.checkpoint import CheckpointInfo
from jobs.assemble_checkpoint import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["assemble_checkpoint", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_parts_name_and_dtype_arrive(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    parts = [f"--part={part}={checkpoint / part}" for part in ("vae", "stage_one_transformer")]
    changes = ["--set=stage_two.noise_level=0", "--set=stage_one.prompt_prefix=slow,"]
    arguments = ["--base", checkpoint, "--output", output, *parts, "--name", "mine", "--dtype", "bfloat16", *changes]
    assert run(monkeypatch, *arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("mine")
    assert "F32" not in told
    info = CheckpointInfo.read(output)
    assert info.digest in told
    assert info.stage_one_scaling_factor == 1.15258426  # the autoencoder's own
    preset = info.presets[info.default_preset]
    assert (preset.stage_two.noise_level, preset.stage_one.prompt_prefix) == (0, "slow,")
    assert info.presets["paper"] == CheckpointInfo.read(checkpoint).presets["paper"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["--part", "vae"], "error: --part is 'vae'; it must be NAME=VALUE; write it so\n"),
        (["--part", "unet=x"], "error: there is no part 'unet'"),
        (["--part", "vae=nowhere"], "error: the vae in nowhere cannot be read"),
        (
            ["--set", "stage_two.noise=1"],
            "error: --set 'stage_two.noise' is no field of a preset; allowed are stage_one.n",
        ),
        (["--set", "stage_two.noise_level=1000"], "error: the preset cannot be changed so: stage_two.noise_level is 1"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    parts: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, "--base", checkpoint, "--output", tmp_path / "out", *parts) == 1
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
