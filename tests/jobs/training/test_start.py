"""Whole training runs on a real Ray: whatever is killed, however many train, the same losses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fv_ray.checkpoint_folder import replace_parts
from fv_ray.errors import InputError, StorageError
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.recipe import AnyRecipe
from fv_ray.video_io import read_frames
from jobs.run_command import run_command
from jobs.training.data import open_source
from jobs.training.recipes import find_recipe
from jobs.training.record import read_failure, read_metrics
from jobs.training.start import start_training, training_app
from tests.jobs.training.shards import row, write_shards

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

LAST = "step-00000006"
DATA = {"low": "procedural"}
LOSS_TOLERANCE = 1e-2
WEIGHT_TOLERANCE = 1e-4
"""Root mean square of a part: a tenth of one of six steps, where other samples or gradients leave whole steps.

Float32 cannot hold two workers to less: AdamW makes steps of roundings. test_state.py does it in float64.
"""


def recipe(**changes: str) -> AnyRecipe:
    return find_recipe("stage_one", "tiny", {"sample_every": "4", **changes})


@pytest.fixture(scope="module")
def whole(fresh_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker made that nothing stopped."""
    output = tmp_path_factory.mktemp("whole") / "run"
    parts = start_training(recipe(), checkpoint=str(fresh_checkpoint), data=DATA, output=f"file://{output}")
    assert parts == f"{output}/parts"
    return output


def losses(output: Path) -> list[float]:
    lines = read_metrics(str(output))
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    return [line["loss"] for line in lines]


def parts(output: Path) -> dict[Path, Any]:
    folder = output / "parts"
    return {path.relative_to(folder): load_file(path) for path in folder.rglob("*.safetensors")}


def assert_same_parts(one: Path, other: Path, tolerance: float) -> None:
    found, expected = parts(one), parts(other)
    assert found.keys() == expected.keys()
    assert expected
    for path, weights in expected.items():
        assert found[path].keys() == weights.keys()
        differences = torch.cat([(found[path][name] - weight).flatten() for name, weight in weights.items()])
        assert differences.square().mean().sqrt() <= tolerance


def test_a_run_leaves_parts_that_run_metrics_and_samples(whole: Path, fresh_checkpoint: Path, tmp_path: Path) -> None:
    folders = {path.name: path for path in (whole / "parts").iterdir()}
    assert folders.keys() == {"stage_one_transformer", "text_encoder"}
    replace_parts(fresh_checkpoint, tmp_path / "trained", folders)
    models = TextToVideo.from_pretrained(tmp_path / "trained")
    assert models.generate(models.checkpoint.request("a red ball", seed=1)).frames_FHWC.shape == (9, 32, 64, 3)
    kept = {path.name for path in (whole / "checkpoints").iterdir() if path.is_dir()}
    assert kept == {"step-00000004", LAST}
    assert {path.name for path in whole.iterdir()} == {
        "recipe.json",
        "metrics.jsonl",
        "tensorboard",
        "parts",
        "checkpoints",
        "samples",
    }
    (sample,) = (whole / "samples").iterdir()
    assert (sample.name, read_frames(sample).shape) == ("step-00000004.mp4", (9, 16, 4 * 32, 3))
    assert len(set(losses(whole))) == 6


def test_a_run_that_is_done_is_not_done_again(whole: Path, fresh_checkpoint: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "checkpoints" / LAST).rglob("*")}
    lines = read_metrics(str(whole))
    start_training(recipe(), checkpoint=str(fresh_checkpoint), data=DATA, output=str(whole))
    assert {path: path.stat().st_mtime_ns for path in (whole / "checkpoints" / LAST).rglob("*")} == before
    assert read_metrics(str(whole)) == lines


def test_a_run_of_other_values_is_refused_with_the_difference(whole: Path, fresh_checkpoint: Path) -> None:
    told = r"recipe\.learning_rate is 0\.001 there and 0\.01 here; give the same values or a new folder"
    with pytest.raises(StorageError, match=told):
        start_training(recipe(learning_rate="0.01"), checkpoint=str(fresh_checkpoint), data=DATA, output=str(whole))
    held_out = {"low": "procedural:held_out"}
    with pytest.raises(StorageError, match=r"data\.low is 'procedural' there and 'procedural:held_out' here"):
        start_training(recipe(), checkpoint=str(fresh_checkpoint), data=held_out, output=str(whole))


def test_another_checkpoint_is_refused(whole: Path, checkpoint: Path) -> None:
    with pytest.raises(StorageError, match=r"checkpoint is 'sha256:\w+' there and 'sha256:\w+' here"):
        start_training(recipe(), checkpoint=str(checkpoint), data=DATA, output=str(whole))


def test_two_workers_train_what_one_trains(whole: Path, fresh_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    start_training(recipe(), checkpoint=str(fresh_checkpoint), data=DATA, output=str(output), num_workers=2)
    assert losses(output) == pytest.approx(losses(whole), rel=LOSS_TOLERANCE)
    assert_same_parts(output, whole, WEIGHT_TOLERANCE)


def test_two_workers_that_share_weights_go_on_after_one_was_killed(
    whole: Path, fresh_checkpoint: Path, tmp_path: Path
) -> None:
    output, killed = tmp_path / "run", []

    def kill_one() -> None:
        wait_for(lambda: has_checkpoint(output))
        killed.extend(training_workers())
        os.kill(killed[0], signal.SIGKILL)

    thread = Thread(target=kill_one)
    thread.start()
    shared = recipe(strategy="fsdp")
    start_training(shared, checkpoint=str(fresh_checkpoint), data=DATA, output=str(output), num_workers=2)
    thread.join()
    assert killed
    assert losses(output) == pytest.approx(losses(whole), rel=LOSS_TOLERANCE)
    assert_same_parts(output, whole, WEIGHT_TOLERANCE)


def test_a_run_whose_command_was_killed_goes_on_exactly(whole: Path, fresh_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = ["--data=procedural", "--recipe=tiny", "--set=sample_every=4", f"--output={output}"]
    command = [sys.executable, "-m", "jobs.train_stage_one", f"--checkpoint={fresh_checkpoint}", *options]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: has_checkpoint(output) or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "checkpoints" / LAST).exists()
    start_training(recipe(), checkpoint=str(fresh_checkpoint), data=DATA, output=str(output))
    assert losses(output) == losses(whole)
    assert_same_parts(output, whole, 0)


def test_a_loss_that_is_no_number_stops_the_run_each_time(
    fresh_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    options = [f"--checkpoint={fresh_checkpoint}", "--data=procedural", "--recipe=tiny", f"--output={output}"]
    changes = ["learning_rate=1e30", "max_grad_norm=1e30", "warmup_steps=0", "checkpoint_every=1"]
    monkeypatch.setattr(sys, "argv", ["x", *options, *(f"--set={each}" for each in changes), "--max-failures=0"])
    seen = set()
    for _ in range(2):
        with pytest.raises(SystemExit, match="1"):
            run_command(training_app("stage_one"))
        (told,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
        assert told.startswith("error: step 2 gave a loss of ")
        assert told.count("scene ") == 4
        assert "earlier checkpoints are good: begin a new run with a lower learning_rate" in told
        seen.add((output / "failure.json").stat().st_ino)
        assert (output / "checkpoints" / "step-00000001" / "parts").exists()
        assert not (output / "checkpoints" / "step-00000002").exists()
    assert len(seen) == 2


def test_an_error_that_would_come_again_ends_the_run(fresh_checkpoint: Path, tmp_path: Path) -> None:
    chosen = find_recipe("stage_two", "tiny", {"num_steps": "2", "checkpoint_every": "1"})
    good = write_shards(tmp_path / "good", [row(number) for number in range(8)])
    first, _, _ = open_source(good, chosen.views[0]).sample(0, chosen.seed)  # which is looked at before the run
    rows = [row(number) if f"clip {number}" == first else row(number, height=48) for number in range(8)]
    data = {"high": write_shards(tmp_path / "set", rows)}
    output = str(tmp_path / "run")
    with pytest.raises(InputError, match=r"is 9 frames of 48 x 64 pixels, the recipe's high are 9 of 32 x 64") as told:
        start_training(chosen, checkpoint=str(fresh_checkpoint), data=data, output=output)
    assert "\n" not in str(told.value)
    failure = read_failure(output)
    assert failure is not None
    assert not failure.is_numerical


def has_checkpoint(output: Path) -> bool:
    """Whether Ray Train has taken one into its books."""
    books = output / "checkpoints" / "checkpoint_manager_snapshot.json"
    return books.exists() and bool(json.loads(books.read_text() or "{}").get("checkpoint_results"))


def wait_for(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def training_workers() -> Iterator[int]:
    """Ray Train's processes under this one."""
    for folder in Path("/proc").iterdir():
        try:
            is_ours = folder.name.isdigit() and os.getpid() in ancestors(int(folder.name))
            if is_ours and b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                yield int(folder.name)
        except OSError:
            continue  # it ended meanwhile


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
