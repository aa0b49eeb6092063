"""A table to a data set on a real Ray: what is made, goes on or is refused, and that it is what the service makes."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
import typer

from deployments.config import StageConfig
from deployments.stage_one import StageOneReplica
from deployments.stage_two import StageTwoReplica
from deployments.stage_work import Done, StageWork, Step
from fv_ray.artifact_store import ArtifactStore, StageRecord
from fv_ray.blobs import open_blobs
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import CheckpointError, InputError, StorageError
from fv_ray.types import VideoRequest
from jobs import generate as module
from jobs.generate import generate
from jobs.generation import ask_store
from jobs.generation.drive_launch import RESUMABLE
from jobs.generation.mark_rows import RowError, RowMarks
from tests.object_store import ObjectStore

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local"), pytest.mark.timeout(900)]

ROWS: tuple[dict[str, Any], ...] = (
    {"id": "fox", "prompt": "a red fox", "seed": 7},
    {"id": "cat", "prompt": "a cat"},
    {"id": "fox again", "prompt": "a red fox", "seed": 7},
    {"id": "crisp fox", "prompt": "a red fox", "seed": 7, "stage_two": {"shift": 2.0}},
    {"id": "bad", "prompt": "a dog", "seed": -1},
)


def write_table(file: Path, *rows: Mapping[str, Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def run(checkpoint: Path, output: Path | str, **options: Any) -> int:
    """The exit status."""
    workers = {"stage_one_workers": "1", "stage_two_workers": "1"}
    try:
        generate(checkpoint=checkpoint, output=str(output), device="cpu", **workers, **options)
    except typer.Exit as end:
        return end.exit_code
    return 0


def manifest(output: Path, version: int = 1) -> list[dict[str, Any]]:
    return pq.read_table(output / "manifest" / f"v{version:04d}").to_pylist()


def errors(output: Path, version: int = 1) -> dict[str, str]:
    found = pq.read_table(output / "errors" / f"v{version:04d}").to_pylist()
    return {row["id"]: row["code"] for row in found}


def file_of_manifest(output: Path, version: int = 1) -> bytes:
    (part,) = (output / "manifest" / f"v{version:04d}").glob("*.parquet")
    return part.read_bytes()


@pytest.fixture(scope="module")
def made(small_checkpoint: Path, ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    folder = tmp_path_factory.mktemp("generate")
    table = write_table(folder / "prompts.jsonl", *ROWS)
    assert run(small_checkpoint, folder / "out", source=table, price=["cpu=3.6"]) == module.WITH_ERRORS
    return folder


def test_every_row_has_its_line_and_every_file_its_digest(made: Path, small_checkpoint: Path) -> None:
    output = made / "out"
    rows = manifest(output)
    assert [(row["row_number"], row["id"], row["status"]) for row in rows] == [
        (number, row["id"], "error" if row["id"] == "bad" else "made") for number, row in enumerate(ROWS)
    ]
    assert [row["same_as_row"] for row in rows] == [None, None, 0, None, None]
    fox, _, again, crisp, bad = rows
    assert again["video_path"] == fox["video_path"]
    assert crisp["preview_path"] == fox["preview_path"]
    assert crisp["video_path"] != fox["video_path"]
    assert (bad["error_code"], bad["video_path"], bad["checkpoint_digest"]) == ("invalid_value", None, None)
    assert {row["checkpoint_digest"] for row in rows[:4]} == {CheckpointInfo.read(small_checkpoint).digest}
    assert errors(output) == {"bad": "invalid_value"}
    for row in rows[:4]:
        for name in ("video", "preview", "latents"):
            content = (output / row[f"{name}_path"]).read_bytes()
            assert (sha256(content).hexdigest(), len(content)) == (row[f"{name}_sha256"], row[f"{name}_num_bytes"])
        assert all((output / row[f"{name}_path"]).is_file() for name in ("video_sheet", "preview_thumbnail"))
    success = json.loads((output / "_SUCCESS.json").read_text())
    assert (success["num_rows"], success["num_made"], success["num_errors"]) == (5, 4, 1)
    for path, digest in success["parts"].items():
        assert sha256((output / path).read_bytes()).hexdigest() == digest


def test_the_report_adds_up(made: Path) -> None:
    report = json.loads((made / "out" / "report.json").read_text())
    assert (report["num_rows"], report["num_made"], report["num_errors"], report["num_repeated"]) == (5, 4, 1, 1)
    assert report["device_s"]["useful"] > 0
    assert report["device_s"]["warm_up"] > 0
    assert report["cost"]["per_video"] == pytest.approx(report["device_s"]["useful"] / 1000 / 3, rel=1e-2)
    assert set(report["phase_s_per_work"]["stage_two"]) >= {"refine", "encode", "decode"}


def test_two_runs_of_one_input_have_the_same_manifest(made: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    again = Path(shutil.copy(made / "prompts.jsonl", tmp_path / "again.jsonl"))
    assert run(small_checkpoint, tmp_path / "out", source=str(again)) == module.WITH_ERRORS
    assert file_of_manifest(tmp_path / "out") == file_of_manifest(made / "out")


def test_a_replica_of_the_service_makes_the_same_files_under_the_same_keys(
    made: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    config, url = StageConfig(), str(tmp_path / "service")
    one, two = StageOneReplica(small_checkpoint, url, config), StageTwoReplica(small_checkpoint, url, config)
    ours = ArtifactStore.open(str(made / "out"))
    for row in manifest(made / "out")[:2]:
        request = VideoRequest.model_validate_json(row["request"])
        preview = served(one, StageWork(video_id="a", stage="stage_one", request=request, salt=""))
        video = served(two, StageWork(video_id="a", stage="stage_two", request=request, salt="", preview=preview))
        for record, key in ((preview, row["preview_work_key"]), (video, row["video_work_key"])):
            found = ours.find(key)
            assert found is not None
            assert record.work_key == key
            assert contents(record) == contents(found)


def served(replica: StageOneReplica | StageTwoReplica, work: StageWork) -> StageRecord:
    async def run_it() -> list[Step | Done]:
        return [told async for told in replica.run(work)]

    done = asyncio.run(run_it())[-1]
    assert isinstance(done, Done)
    assert not done.is_reused
    return done.record


def contents(record: StageRecord) -> dict[str, str]:
    """Digest of each file but those that tell the seconds."""
    return {name: file.sha256 for name, file in record.artifacts.items() if not name.endswith(".json")}


def test_a_finished_run_asks_nothing_of_ray_and_another_command_is_refused(
    made: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "make_rows", lambda *_: pytest.fail("Ray was asked"))
    table, output = str(made / "prompts.jsonl"), made / "out"
    for rate, status in ((1, module.WITH_ERRORS), (0.2, module.WITH_ERRORS), (0.1, module.TOO_MANY_ERRORS)):
        assert run(small_checkpoint, output, source=table, max_error_rate=rate) == status
    with pytest.raises(StorageError, match=r"asking.seed is 0 there and 1 here"):
        run(small_checkpoint, output, source=table, seed=1)
    with pytest.raises(StorageError, match=r"asking.stage_two.shift is None there and 2 here"):
        run(small_checkpoint, output, source=table, changes=["stage_two.shift=2"])
    fewer = write_table(made / "fewer.jsonl", *ROWS[1:])
    with pytest.raises(StorageError, match="give --extend for more, or a new folder"):
        run(small_checkpoint, output, source=fewer)
    with pytest.raises(StorageError, match="not the first 5 of this input"):
        run(small_checkpoint, output, source=fewer, extend=True)
    (made / "other").mkdir(exist_ok=True)
    (made / "other" / "file").touch()
    with pytest.raises(StorageError, match=r"holds file and no run\.json"):
        run(small_checkpoint, made / "other", source=table)


def test_what_is_left_is_made_alone_and_the_manifest_is_the_same(
    made: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    """A video is lost, another row was given up; the run was killed before its end."""
    output, table = tmp_path / "out", str(made / "prompts.jsonl")
    shutil.copytree(made / "out", output)
    for path in ("manifest", "errors"):
        shutil.rmtree(output / path)
    (output / "_SUCCESS.json").unlink()
    fox, cat, *_ = manifest(made / "out")
    store, marks = ArtifactStore.open(str(output)), RowMarks(open_blobs(str(output)))
    store.delete(cat["video_work_key"])
    error = {"stage": "stage_two", "code": "crash_loop", "message": "", "attempts": 3, "node": "a"}
    marks.give_up(cat["key"], RowError.model_validate({**error, "created_at": "2026-01-01T00:00:00Z"}))
    assert run(small_checkpoint, output, source=table, max_error_rate=0.3) == module.TOO_MANY_ERRORS  # none is left
    assert errors(output) == {"bad": "invalid_value", "cat": "crash_loop"}

    kept = {path: path.stat().st_ino for path in output.rglob("w/**/*") if path.is_file()}
    (output / Path(fox["video_path"]).with_name("video-0123456789ab.mp4")).write_bytes(b"of a killed process")
    options: dict[str, Any] = {"source": table, "retry_errors": True, "orphan_age_s": 0}
    assert run(small_checkpoint, output, **options) == module.WITH_ERRORS
    assert errors(output, 2) == {"bad": "invalid_value"}
    assert file_of_manifest(output, 2) == file_of_manifest(made / "out")
    after = {path: path.stat().st_ino for path in output.rglob("w/**/*") if path.is_file()}
    assert kept.items() <= after.items()
    assert {path.parent.name for path in after.keys() - kept.keys()} == {cat["video_work_key"]}
    assert json.loads((output / "_SUCCESS.json").read_text())["manifest_version"] == 2


def test_a_damaged_video_is_made_again_where_files_are_checked(
    made: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    output, table = tmp_path / "out", str(made / "prompts.jsonl")
    shutil.copytree(made / "out", output)
    fox, cat, *_ = manifest(output)
    video, preview = output / cat["video_path"], output / fox["latents_path"]
    whole = video.read_bytes()
    video.write_bytes(whole[:-1])
    preview.unlink()
    assert run(small_checkpoint, output, source=table) == module.WITH_ERRORS
    assert not preview.exists()
    (preview.parent / "record.json").write_bytes(b"")

    for _ in range(2):
        assert run(small_checkpoint, output, source=table, check_files=True) == module.WITH_ERRORS
    assert video.read_bytes() == whole
    assert sha256(preview.read_bytes()).hexdigest() == fox["latents_sha256"]
    assert json.loads((output / "_SUCCESS.json").read_text())["manifest_version"] == 2
    assert file_of_manifest(output, 2) == file_of_manifest(made / "out")


def test_a_later_launch_keeps_the_dtype_of_the_first(made: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(made / "out", output)
    assert json.loads((output / "dtype.json").read_text()) == {"dtype": "float32"}
    (output / "dtype.json").write_text('{"dtype": "bfloat16"}')  # as of a launch on GPUs
    cat = manifest(output)[1]
    (output / cat["video_path"]).unlink()
    options: dict[str, Any] = {"source": str(made / "prompts.jsonl"), "check_files": True}
    assert run(small_checkpoint, output, **options) == module.WITH_ERRORS
    sidecars = (output / "w" / cat["video_work_key"][:2] / cat["video_work_key"]).glob("video-*.json")
    newest = max(sidecars, key=lambda file: file.stat().st_mtime)
    assert json.loads(newest.read_text())["dtype"] == "bfloat16"


def test_rows_that_are_added_are_made_alone(made: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(made / "out", output)
    again = {"id": "cat again", "prompt": "a cat", "seed": manifest(output)[1]["seed"]}  # which is there already
    table = write_table(tmp_path / "more.jsonl", *ROWS, again)
    assert run(small_checkpoint, output, source=table, extend=True) == module.WITH_ERRORS
    assert file_of_manifest(output) == file_of_manifest(made / "out")
    rows = manifest(output, 2)
    assert rows[:5] == manifest(output)
    assert (rows[5]["id"], rows[5]["status"], rows[5]["same_as_row"]) == ("cat again", "made", 1)


def test_previews_that_are_chosen_become_the_videos_of_a_run_in_one_go(
    made: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    previews, videos, table = tmp_path / "previews", tmp_path / "videos", str(made / "prompts.jsonl")
    assert run(small_checkpoint, previews, source=table, preview_only=True) == module.WITH_ERRORS
    rows = manifest(previews)
    assert [row["same_as_row"] for row in rows] == [None, None, 0, 0, None]
    assert {row["video_path"] for row in rows} == {None}

    chosen = (
        {"id": "cat"},
        {"id": "fox", "stage_two": {"shift": 2.0}},
        {"id": "nobody"},
        {"id": "fox", "num_frames": 5},
    )
    select = write_table(tmp_path / "chosen.jsonl", *chosen)
    options = {"from_previews": str(previews), "select": select}
    assert run(small_checkpoint, videos, **options) == module.WITH_ERRORS
    cat, fox, *_ = manifest(videos)
    assert pq.read_table(videos / "errors" / "v0001")["code"].to_pylist() == ["preview_unknown", "duplicate_id"]
    whole = {row["id"]: row for row in manifest(made / "out")}
    assert cat["video_sha256"] == whole["cat"]["video_sha256"]
    assert fox["video_sha256"] == whole["crisp fox"]["video_sha256"]
    assert not list(videos.glob("w/*/*/preview*"))

    ArtifactStore.open(str(previews)).delete(cat["preview_work_key"])
    with pytest.raises(StorageError, match="1 previews of .* are not there any more"):
        run(small_checkpoint, tmp_path / "again", **options)


def test_a_signal_ends_the_launch_whatever_is_raised_behind_it(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        """As an event loop that is closed while its tasks are left."""
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            raise RuntimeError("Event loop stopped before Future completed.")

    monkeypatch.setattr(module, "open_run", interrupted)
    table = write_table(tmp_path / "a.jsonl", {"prompt": "a fox"})
    assert run(small_checkpoint, tmp_path / "out", source=table) == module.RESUMABLE


def test_what_cannot_begin_is_told_before_ray_is_asked(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "make_rows", lambda *_: pytest.fail("Ray was asked"))
    table, output = write_table(tmp_path / "a.jsonl", *ROWS), tmp_path / "out"
    with pytest.raises(InputError, match=r"1 of 5 rows cannot be made, the first one a\.jsonl:5: seed is -1"):
        run(small_checkpoint, output, source=table, strict=True)
    with pytest.raises(InputError, match="give either --input, or --from-previews with --select"):
        run(small_checkpoint, output, source=table, select=table)
    for options, match in (
        ({"always": True}, "--always is given without --enhance"),
        ({"enhancer": ["kind=rules"]}, "--enhancer is given without --enhance"),
        ({"enhance": True, "enhancer": ["size=7"]}, "has a name 'size'; allowed are kind, model"),
        ({"enhance": True, "enhancer": ["kind=openai", "timeout_s=x"]}, "--enhancer timeout_s is 'x'"),
        ({"enhance": True, "enhancer": ["kind=vllm"]}, "model is None and the kind of enhancer is vllm"),
    ):
        with pytest.raises(InputError, match=match):
            run(small_checkpoint, output, source=table, **options)
    with pytest.raises(CheckpointError, match="openai or vllm"):
        run(small_checkpoint, output, source=table, enhance=True)
    assert not (output / "run.json").exists()
    assert run(small_checkpoint, output, source=table, max_error_rate=0.1) == module.TOO_MANY_ERRORS


def test_a_store_that_does_not_answer_ends_a_launch_as_one_that_can_go_on(
    small_checkpoint: Path, tmp_path: Path, s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_store, "PATIENCE_S", 0)
    table = write_table(tmp_path / "a.jsonl", *ROWS)
    with s3.spoiled(lambda *_: "refuse"):
        assert run(small_checkpoint, f"s3://bucket/{uuid4()}", source=table) == RESUMABLE
        assert run(small_checkpoint, tmp_path / "out", source="s3://bucket/prompts.csv") == RESUMABLE


def test_what_no_actor_can_do_is_an_error_and_not_for_another_launch(small_checkpoint: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.jsonl", ROWS[0])
    with pytest.raises(InputError, match="attention"):
        run(small_checkpoint, tmp_path / "out", source=table, attention_backend="nonsense")


def test_the_command_tells_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["generate", f"--input={tmp_path}/none.csv", f"--output={tmp_path}/out"])
    with pytest.raises(SystemExit, match="1"):
        module.main()
    assert capsys.readouterr().err.startswith("error: there is no table at")
