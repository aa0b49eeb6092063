"""A finished run to each layout: what is written, read back by its own library; stops, damages, refusals."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from fv_ray.blobs import open_blobs
from fv_ray.errors import ArtifactDamaged, InputError, StorageError
from fv_ray.text_to_video import TextToVideo
from jobs import export as module
from jobs.exporting.read_run import read_run
from jobs.generation.begin_run import SUCCESS_FILE
from tests.jobs.exporting.finished_run import PROMPTS, make_run

MADE = [0, 1, 3]
"""Numbers of rows that are made and ask for something of their own."""
LAYOUTS = ["webdataset", "huggingface", "contact-sheet"]


@pytest.fixture(scope="module")
def run(models: TextToVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return make_run(models, tmp_path_factory.mktemp("test_run"))


def export(run: object, to: str, output: object, **changes: Any) -> None:
    defaults = {"shard_mb": 256, "rows_per_page": 500, "repeats": False, "unfinished": False}
    module.export(run=str(run), to=to, output=str(output), **{**defaults, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def samples(*shards: Path) -> list[dict[str, Any]]:
    """By webdataset's own reader; its door leaves files open."""
    found: list[dict[str, Any]] = []
    for shard in shards:
        with shard.open("rb") as stream:
            found += group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}]))
    return found


def hugging_face(cache: Path, *how: str, **where: str) -> list[dict[str, Any]]:
    read = datasets.load_dataset(*how, **where, cache_dir=str(cache))
    assert list(read) == ["train"]
    return list(read["train"].cast_column("video", datasets.Video(decode=False)))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A run that may be spoiled."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def video_of(run: Path, number: int) -> Path:
    rows = [row for row in read_run(str(run)).rows() if row.number == number]
    assert rows[0].clip is not None
    return run / rows[0].clip.path


def test_webdataset_reads_the_shards(run: Path, tmp_path: Path) -> None:
    export(run, "webdataset", tmp_path / "out")
    found = samples(tmp_path / "out" / "videos-000000.tar")
    assert [sample["__key__"] for sample in found] == [
        "00000000-test_fox_v2",
        "00000001-2024-01-01",
        "00000003-again",
    ]
    for number, sample in zip(MADE, found, strict=True):
        assert sample["txt"].decode() == PROMPTS[number]["prompt"]
        told = json.loads(sample["json"])
        assert (told["id"], told["row_number"]) == (PROMPTS[number]["id"], number)
        assert told["request"]["stage_two"]["width"] == told["width"] == 64
        assert told["sha256"] == hashlib.sha256(sample["mp4"]).hexdigest()
        assert sample["mp4"] == video_of(run, number).read_bytes()


def test_shards_are_as_large_as_told(run: Path, tmp_path: Path) -> None:
    sizes = [video_of(run, number).stat().st_size for number in MADE]
    export(run, "webdataset", tmp_path / "out", shard_mb=(sizes[0] + sizes[1]) / 10**6)
    shards = sorted((tmp_path / "out").glob("*.tar"))
    assert [len(samples(shard)) for shard in shards] == [2, 1]
    assert [sample["__key__"][:8] for sample in samples(*shards)] == ["00000000", "00000001", "00000003"]


def test_datasets_reads_the_folder_without_a_network(run: Path, tmp_path: Path) -> None:
    """A row that calls itself a test makes no split of its own."""
    output = tmp_path / "out"
    export(run, "huggingface", output)
    by_name = hugging_face(tmp_path / "cache", "videofolder", data_dir=str(output))
    by_card = hugging_face(tmp_path / "cache", str(output))
    assert by_name == by_card
    assert [(row["id"], row["prompt"]) for row in by_name] == [
        (PROMPTS[number]["id"], PROMPTS[number]["prompt"]) for number in MADE
    ]
    for number, row in zip(MADE, by_name, strict=True):
        assert Path(row["video"]["path"]).read_bytes() == video_of(run, number).read_bytes()
        assert (row["row_number"], row["width"], row["height"]) == (number, 64, 32)


def test_repeats_are_exported_where_they_are_asked_for(run: Path, tmp_path: Path) -> None:
    export(run, "webdataset", tmp_path / "out", repeats=True)
    found = samples(tmp_path / "out" / "videos-000000.tar")
    assert [json.loads(sample["json"])["id"] for sample in found[2:]] == ["again", "and again"]
    assert found[2]["mp4"] == found[3]["mp4"]


@pytest.mark.parametrize("to", LAYOUTS)
def test_one_run_gives_the_same_bytes(run: Path, tmp_path: Path, to: str) -> None:
    for name in ("a", "b"):
        export(run, to, tmp_path / name)
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize("to", LAYOUTS)
def test_what_was_stopped_goes_on_and_what_is_done_is_left_alone(run: Path, tmp_path: Path, to: str) -> None:
    whole, output = tmp_path / "whole", tmp_path / "out"
    for folder in (whole, output):
        export(run, to, folder, rows_per_page=2)
    (output / "summary.json").unlink()
    lost = sorted(path for path in output.rglob("*") if path.suffix in (".tar", ".mp4", ".html"))[-1]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in output.rglob("*.*") if path.suffix in (".mp4", ".html")}
    export(run, to, output, rows_per_page=2)
    assert content(output) == content(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    export(run, to, output, rows_per_page=2)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_another_command_is_refused(run: Path, tmp_path: Path) -> None:
    export(run, "webdataset", tmp_path / "out")
    with pytest.raises(StorageError, match="shard_mb is 256 there and 1 here"):
        export(run, "webdataset", tmp_path / "out", shard_mb=1)
    with pytest.raises(StorageError, match="to is 'webdataset' there and 'huggingface' here"):
        export(run, "huggingface", tmp_path / "out")
    with pytest.raises(StorageError, match="holds files that were not begun here"):
        export(run, "huggingface", run)


@pytest.mark.parametrize("to", ["webdataset", "huggingface"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_video_names_its_row_and_leaves_nothing_half(
    copy: Path, tmp_path: Path, to: str, damage: str
) -> None:
    video, output = video_of(copy, 3), tmp_path / "out"
    whole = video.read_bytes()
    if damage == "changed":
        video.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        video.unlink()
    with pytest.raises(ArtifactDamaged, match=r"row 3, id 'again': .*remove w/../[0-9a-f]{64}/record.json"):
        export(copy, to, output)
    left = content(output)
    assert not {"summary.json", "metadata.parquet", "videos-000000.tar"} & left.keys()
    sources = {path.read_bytes() for path in copy.rglob("video-*.mp4")}
    assert all(data in sources for name, data in left.items() if name.endswith(".mp4"))
    video.write_bytes(whole)
    export(copy, to, output)
    export(copy, to, tmp_path / "whole")
    assert content(output) == content(tmp_path / "whole")


def test_a_run_that_has_not_ended(copy: Path, tmp_path: Path) -> None:
    (copy / SUCCESS_FILE).unlink()
    with pytest.raises(StorageError, match="has no _SUCCESS.json; a finished run is allowed: finish it, or give --unf"):
        export(copy, "webdataset", tmp_path / "out")
    next((copy / "w").glob("*/*/video-*.mp4")).with_name("record.json").unlink()  # a killed process' work
    export(copy, "webdataset", tmp_path / "out", unfinished=True)
    found = samples(tmp_path / "out" / "videos-000000.tar")
    assert len(found) == len(MADE) - 1
    for sample in found:
        told = json.loads(sample["json"])
        assert told["prompt"] in {row["prompt"] for row in PROMPTS}
        assert told["sha256"] == hashlib.sha256(sample["mp4"]).hexdigest()
        assert told["id"] == told["video_work_key"][:16]


def test_a_data_set_has_what_the_model_read_beside_the_rows_own_prompt(models: TextToVideo, tmp_path: Path) -> None:
    caption = "A small fox sits in the grass and looks up."
    run = make_run(models, tmp_path, "previews", {PROMPTS[1]["id"]: caption})
    export(run, "webdataset", tmp_path / "out")
    plain, enhanced, _ = samples(tmp_path / "out" / "previews-000000.tar")
    for sample, prompt, read in ((plain, PROMPTS[0]["prompt"], None), (enhanced, PROMPTS[1]["prompt"], caption)):
        told = json.loads(sample["json"])
        assert (told["prompt"], told["enhanced_prompt"]) == (prompt, read)
        assert sample["txt"].decode() == (read or prompt)


def test_previews_are_exported_where_they_were_asked_for(models: TextToVideo, tmp_path: Path) -> None:
    run = make_run(models, tmp_path, "previews")
    export(run, "webdataset", tmp_path / "out")
    found = samples(tmp_path / "out" / "previews-000000.tar")
    assert [json.loads(sample["json"])["row_number"] for sample in found] == MADE
    assert {sample["mp4"] for sample in found} == {path.read_bytes() for path in run.rglob("preview-*.mp4")}
    assert {json.loads(sample["json"])["width"] for sample in found} == {32}
    (run / SUCCESS_FILE).unlink()
    export(run, "contact-sheet", tmp_path / "sheet", unfinished=True)
    assert "3 rows made so far" in (tmp_path / "sheet" / "index.html").read_text()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no folder"):
        export(tmp_path / "none", "webdataset", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match=r"has no run.json"):
        export(tmp_path / "empty", "webdataset", tmp_path / "out")
    with pytest.raises(InputError, match="is no place for results"):
        export("memory://a::file://b", "webdataset", tmp_path / "out")


def test_a_manifest_of_other_bytes_is_not_read(copy: Path, tmp_path: Path) -> None:
    part = next((copy / "manifest").rglob("*.parquet"))
    part.write_bytes(part.read_bytes() + b" ")
    with pytest.raises(
        StorageError, match=r"part-00000-[0-9a-f]{12}\.parquet is missing or not what _SUCCESS.json says"
    ):
        export(copy, "webdataset", tmp_path / "out")


@pytest.mark.parametrize("to", LAYOUTS)
def test_any_place_in_and_out(run: Path, tmp_path: Path, place: str, to: str) -> None:
    source, output = open_blobs(f"{place}/run"), f"{place}/out"
    for name in content(run):
        source.put(name, run / name)
    export(f"{place}/run", to, output)
    export(run, to, tmp_path / "local")
    names = content(tmp_path / "local").keys()
    there = open_blobs(output)
    assert {name for name in there.files("") if not name.startswith(".")} == names
    same = names if to != "contact-sheet" else names - {"index.html"}  # whose links differ
    assert all(there.read(name) == (tmp_path / "local" / name).read_bytes() for name in same)


def test_a_missing_library_is_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.delitem(sys.modules, "jobs.exporting.write_tars", raising=False)
    with pytest.raises(InputError, match=r"--to webdataset needs a package .*install fv-ray\[export\]"):
        export(run, "webdataset", tmp_path / "out")


def test_the_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["export", f"--run={run}", "--to=huggingface", f"--output={tmp_path}/out"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code in (None, 0)
    assert capsys.readouterr().out == f"3 clips in {tmp_path}/out\n"
