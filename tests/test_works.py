"""What the service and bulk jobs share: the same request gives the same files under the same key."""

from pathlib import Path

import pytest

from fv_ray.artifact_store import ArtifactStore
from fv_ray.errors import InputError, ResultEmpty
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import VideoRequest
from fv_ray.works import Work, fetch, keep, preview_work, run_timed, video_work
from tests.artifact_writer import key

MADE = {
    "preview": {"preview.json", "preview.mp4", "preview.safetensors", "preview.webp", "preview_sheet.webp"},
    "video": {"video.json", "video.mp4", "video.webp", "video_sheet.webp"},
}


def run(work: Work, store: ArtifactStore, folder: Path) -> None:
    given, made = folder / "given", folder / "made"
    given.mkdir(parents=True)
    made.mkdir()
    fetch(store, work.inputs, given)
    seconds = run_timed(work.make, given, made, lambda _: None)
    keep(store, work.key, work.stage, made, device="cpu", device_seconds=seconds)


def test_two_places_have_the_same_preview_and_video(
    stage_one: StageOne, stage_two: StageTwo, request_: VideoRequest, tmp_path: Path
) -> None:
    found = []
    for place in (tmp_path / "here", tmp_path / "there"):
        store = ArtifactStore.open(f"{place}/store")
        preview = preview_work(stage_one, request_)
        run(preview, store, place / "preview")
        preview_record = store.find(preview.key)
        assert preview_record is not None
        video = video_work(stage_two, request_, preview_record)
        run(video, store, place / "video")
        video_record = store.find(video.key)
        assert video_record is not None
        assert preview_record.artifacts.keys() == MADE["preview"]
        assert video_record.artifacts.keys() == MADE["video"]
        found.append({**preview_record.artifacts, **video_record.artifacts})
    here, there = ({name: each[name] for name in each if not name.endswith(".json")} for each in found)
    assert here == there  # the .json files tell the seconds


def test_a_record_without_latents_is_no_preview(stage_two: StageTwo, request_: VideoRequest, tmp_path: Path) -> None:
    store = ArtifactStore.open(str(tmp_path / "store"))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "video.mp4").write_bytes(b"frames")
    record = keep(store, key(1), "stage_two", tmp_path / "made", device="cpu", device_seconds=1)
    with pytest.raises(InputError, match=r"has no preview\.safetensors"):
        video_work(stage_two, request_, record)


@pytest.mark.parametrize("files", [{}, {"video.mp4": b"frames", "video.webp": b""}])
def test_a_result_without_content_is_not_kept(files: dict[str, bytes], tmp_path: Path) -> None:
    store = ArtifactStore.open(str(tmp_path / "store"))
    (tmp_path / "made").mkdir()
    for name, content in files.items():
        (tmp_path / "made" / name).write_bytes(content)
    with pytest.raises(ResultEmpty, match="without content"):
        keep(store, key(1), "stage_two", tmp_path / "made", device="cpu", device_seconds=1)
    assert store.find(key(1)) is None
