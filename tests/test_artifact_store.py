import hashlib
import os
import random
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError

from fv_ray.artifact_store import RECORD_FILE, Artifact, ArtifactStore, StageRecord
from fv_ray.errors import ArtifactDamaged, InputError, StorageError, StoreUnavailable
from tests.artifact_writer import commit_on_a_full_disk, commit_works, key, start, write_files, write_until_killed
from tests.object_store import ObjectStore, some

WORK = key(7)
FOLDER = f"w/{WORK[:2]}/{WORK}"
SOON = datetime.now(UTC) + timedelta(days=1)
LONG_AGO = datetime.now(UTC) - timedelta(days=1)


def commit(store: ArtifactStore, folder: Path, work: str = WORK, **contents: bytes) -> StageRecord:
    files = write_files(folder / "files", **(contents or {"preview_mp4": b"0123456789", "preview_json": b"{}"}))
    return store.commit(work, "stage_one", files, device="cpu", device_seconds=1.5)


def visible(root: Path) -> list[Path]:
    """What is there but for the hidden files of writers that were killed."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def test_a_commit_is_found_and_read(place: str, tmp_path: Path) -> None:
    store = ArtifactStore.open(place)
    assert store.find(WORK) is None
    record = commit(store, tmp_path)
    assert store.find(WORK) == ArtifactStore.open(place).find(WORK) == record
    assert (record.work_key, record.stage, record.device, record.device_seconds) == (WORK, "stage_one", "cpu", 1.5)
    video = record.artifacts["preview.mp4"]
    assert video.path == f"{FOLDER}/preview-{hashlib.sha256(b'0123456789').hexdigest()[:12]}.mp4"
    assert {name: file.media_type for name, file in record.artifacts.items()} == {
        "preview.mp4": "video/mp4",
        "preview.json": "application/json",
    }
    assert {name: store.read(file) for name, file in record.artifacts.items()} == {
        "preview.mp4": b"0123456789",
        "preview.json": b"{}",
    }


def test_a_range_is_read_in_chunks(place: str, tmp_path: Path) -> None:
    store = ArtifactStore.open(place)
    video = commit(store, tmp_path).artifacts["preview.mp4"]
    assert list(store.read_range(video, 0, 10, 4)) == [b"0123", b"4567", b"89"]
    assert list(store.read_range(video, 3, 5)) == [b"34"]
    for start_, end in ((-1, 5), (5, 5), (5, 11), (7, 3)):
        with pytest.raises(InputError, match="it has 10"):
            store.read_range(video, start_, end)


def test_the_first_record_wins(place: str, tmp_path: Path) -> None:
    """Both had looked before either was done, so both come to commit."""
    store = ArtifactStore.open(place)
    first = commit(store, tmp_path, preview_mp4=b"first")
    assert commit(store, tmp_path, preview_mp4=b"second", other_json=b"{}") == first == store.find(WORK)
    assert store.read(first.artifacts["preview.mp4"]) == b"first"


def test_of_many_threads_one_wins_and_all_see_its_record(place: str, tmp_path: Path) -> None:
    store, num_threads = ArtifactStore.open(place), 8
    stores = [ArtifactStore.open(place), *[store] * (num_threads - 1)]
    for work in map(key, range(2 if place.startswith(("s3", "gs")) else 8)):
        barrier = threading.Barrier(num_threads)

        def run(number: int, work: str = work, barrier: threading.Barrier = barrier) -> StageRecord:
            files = write_files(tmp_path / f"{number}", preview_mp4=f"thread {number}".encode())
            barrier.wait()
            return stores[number].commit(work, "stage_one", files, device=f"thread {number}", device_seconds=1)

        with ThreadPoolExecutor(num_threads) as threads:
            records = list(threads.map(run, range(num_threads)))
        assert all(record == store.find(work) for record in records)
        assert store.read(records[0].artifacts["preview.mp4"]) == records[0].device.encode()


def test_of_many_processes_one_wins_and_all_see_its_record(tmp_path: Path) -> None:
    num_processes, num_works, url = 4, 40, f"{tmp_path}/place"
    folders = [tmp_path / f"process{number}" for number in range(num_processes)]
    processes = [start(commit_works, url, folder, num_works) for folder in folders]
    while not all((folder / "ready").exists() for folder in folders):
        assert all(process.is_alive() for process in processes)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * num_processes

    store = ArtifactStore.open(url)
    for number in range(num_works):
        record = store.find(key(number))
        assert record is not None
        told = [StageRecord.model_validate_json((folder / f"{number}.json").read_bytes()) for folder in folders]
        assert told == [record] * num_processes
        assert store.read(record.artifacts["preview.mp4"]) == record.device.encode()


def test_a_killed_writer_leaves_whole_files_only(tmp_path: Path) -> None:
    root, draws, num_kills, num_records = tmp_path / "place", random.Random(0), 12, 0
    for number in range(num_kills):
        folder = tmp_path / f"writer{number}"
        process = start(write_until_killed, str(root), folder, number * 1_000_000)
        while not (folder / "begun").exists():
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(draws.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -9

    store = ArtifactStore.open(str(root))
    for path in visible(root):
        if path.name == RECORD_FILE:
            record = store.find(path.parent.name)
            assert record is not None
            assert {len(store.read(file)) for file in record.artifacts.values()} == {300_000, 2_000}
            num_records += 1
        else:
            assert path.stem.rpartition("-")[2] == hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert num_records >= num_kills

    store.sweep(SOON)
    left = [path for path in root.rglob("*") if path.is_file()]
    assert len(left) == 3 * num_records == len(visible(root))


@pytest.mark.parametrize(("max_file_bytes", "what"), [(100, "a file"), (310, "the record")])
def test_a_full_disk_is_told_and_leaves_no_record(tmp_path: Path, max_file_bytes: int, what: str) -> None:
    process = start(commit_on_a_full_disk, f"{tmp_path}/place", tmp_path / "files", max_file_bytes)
    process.join()
    assert process.exitcode == 3, f"{what} did not fit, and no StorageError said so"
    store = ArtifactStore.open(f"{tmp_path}/place")
    assert store.find(key(0)) is None
    store.sweep(SOON)
    assert [path for path in (tmp_path / "place").rglob("*") if path.is_file()] == []
    commit(store, tmp_path, key(0))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
        lambda path: path.write_bytes(path.read_bytes() + b"X"),
    ],
    ids=["missing", "cut", "changed", "longer"],
)
def test_damage_is_seen(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store = ArtifactStore.open(f"{tmp_path}/place")
    record = commit(store, tmp_path)
    video = record.artifacts["preview.mp4"]
    damage(tmp_path / "place" / video.path)
    with pytest.raises(ArtifactDamaged, match="run the stage again"):
        store.read(video)
    assert store.find_whole(WORK) is None
    assert store.find(WORK) is None
    again = commit(store, tmp_path)
    assert again.artifacts == record.artifacts  # whoever has the old record, has the new files
    assert store.read(video) == b"0123456789"
    assert store.find_whole(WORK) == again


def test_a_range_of_a_damaged_file_is_refused_at_once(tmp_path: Path) -> None:
    store = ArtifactStore.open(f"{tmp_path}/place")
    video = commit(store, tmp_path).artifacts["preview.mp4"]
    (tmp_path / "place" / video.path).write_bytes(b"0123")
    with pytest.raises(ArtifactDamaged):
        store.read_range(video, 3, 9)
    chunks = store.read_range(video, 0, 10, 4)
    assert next(chunks) == b"0123"
    with pytest.raises(ArtifactDamaged):
        next(chunks)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "w/../../secret", "w/.hidden", "w//x", "", "w/x\n"])
def test_an_artifact_cannot_lie_elsewhere(path: str) -> None:
    with pytest.raises(ValidationError, match="path"):
        Artifact(path=path, sha256="a" * 64, num_bytes=1, media_type="video/mp4")


@pytest.mark.parametrize(
    ("change", "into"),
    [
        (b'"w/', b'"../w/'),
        (f'"{FOLDER}/preview'.encode(), f'"w/00/{key(8)}/preview'.encode()),
        (f'"work_key":"{WORK}"'.encode(), f'"work_key":"{key(8)}"'.encode()),
        (b'"format_version":1', b'"format_version":2'),
        (b'"stage":', b'"more":1,"stage":'),
        (b"}", b""),
    ],
    ids=["leads out", "of another work", "another key", "newer", "unknown field", "cut"],
)
def test_a_record_that_is_not_ours_is_refused(tmp_path: Path, change: bytes, into: bytes) -> None:
    store, file = ArtifactStore.open(f"{tmp_path}/place"), tmp_path / "place" / FOLDER / RECORD_FILE
    commit(store, tmp_path)
    assert change in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(change, into))
    with pytest.raises(StorageError, match="not understood.*delete the work and run it again"):
        store.find(WORK)
    with pytest.raises(StorageError, match="not understood"):
        commit(store, tmp_path)
    (file.parent / ".left").touch()
    assert store.sweep(SOON) == 0
    assert store.find_whole(WORK) is None
    assert commit(store, tmp_path) == store.find_whole(WORK)


@pytest.mark.parametrize("name", ["../x.mp4", "a b.mp4", "preview", ".mp4", "Preview.mp4", "a/b.mp4", "x.mp4\n"])
def test_files_have_plain_names(tmp_path: Path, name: str) -> None:
    store = ArtifactStore.open(f"{tmp_path}/place")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no name of a result"):
        store.commit(WORK, "stage_one", {name: tmp_path / "file"}, device="cpu", device_seconds=1)


@pytest.mark.parametrize("work_key", ["", "../x", WORK[:-1], WORK + "\n", "A" * 64, f"{WORK[:-3]}/.."])
def test_a_work_key_is_a_digest(tmp_path: Path, work_key: str) -> None:
    store = ArtifactStore.open(f"{tmp_path}/place")
    for use in (store.find, store.delete, lambda work: commit(store, tmp_path, work)):
        with pytest.raises(InputError, match="no work key"):
            use(work_key)


def test_a_file_that_is_not_there_is_told_and_nothing_is_stored(tmp_path: Path) -> None:
    store = ArtifactStore.open(f"{tmp_path}/place")
    with pytest.raises(StorageError, match=r"gone\.mp4 cannot be read"):
        store.commit(WORK, "stage_one", {"gone.mp4": tmp_path / "gone.mp4"}, device="cpu", device_seconds=1)
    assert visible(tmp_path / "place") == []


def test_deleting_twice_is_harmless(place: str, tmp_path: Path) -> None:
    store = ArtifactStore.open(place)
    record = commit(store, tmp_path)
    other = commit(store, tmp_path, key(8))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(store.delete, [WORK] * 4))
    store.delete(WORK)
    assert store.find(WORK) is None
    with pytest.raises(ArtifactDamaged):
        store.read(record.artifacts["preview.mp4"])
    assert store.read(other.artifacts["preview.mp4"]) == b"0123456789"


def test_a_delete_that_is_cut_short_leaves_no_record(s3: ObjectStore, tmp_path: Path) -> None:
    store = ArtifactStore.open(f"s3://bucket/{uuid4()}")
    commit(store, tmp_path)
    with (
        s3.spoiled(lambda method, path: "refuse" if method == "DELETE" and not path.endswith(RECORD_FILE) else None),
        pytest.raises(StoreUnavailable),
    ):
        store.delete(WORK)
    assert store.find(WORK) is None
    store.delete(WORK)
    assert list(store.orphans(SOON)) == []


def test_orphans_are_what_no_record_names(place: str, tmp_path: Path) -> None:
    store = ArtifactStore.open(place)
    record, lone = commit(store, tmp_path), commit(store, tmp_path, key(1))
    loser = commit(ArtifactStore.open(f"{tmp_path}/elsewhere"), tmp_path, preview_mp4=b"loser").artifacts["preview.mp4"]
    store._blobs.put(loser.path, write_files(tmp_path, preview_mp4=b"loser")["preview.mp4"])
    store._blobs.put(f"w/00/{key(2)}/preview-0123456789ab.mp4", tmp_path / "preview_mp4")
    store._blobs.put(f"probe/{uuid4()}/probe", tmp_path / "preview_mp4")

    assert list(store.orphans(LONG_AGO)) == []
    found = sorted(store.orphans(SOON))
    assert found[1:] == sorted([loser.path, f"w/00/{key(2)}/preview-0123456789ab.mp4"])
    assert found[0].startswith("probe/")
    assert store.sweep(SOON) == 3
    assert list(store.orphans(SOON)) == []
    assert (store.find(WORK), store.find(key(1))) == (record, lone)
    assert store.read(record.artifacts["preview.mp4"]) == b"0123456789"


def test_a_repeated_commit_makes_its_files_young(tmp_path: Path) -> None:
    """A sweeper must not take an old file of a work that is being committed again."""
    store = ArtifactStore.open(f"{tmp_path}/place")
    record = commit(store, tmp_path)
    os.remove(tmp_path / "place" / FOLDER / RECORD_FILE)
    for path in visible(tmp_path / "place"):
        os.utime(path, (0, 0))
    assert len(list(store.orphans(LONG_AGO))) == 2
    assert commit(store, tmp_path).artifacts == record.artifacts
    os.remove(tmp_path / "place" / FOLDER / RECORD_FILE)
    assert list(store.orphans(LONG_AGO)) == []


def test_a_place_that_lets_the_second_in_is_refused(s3: ObjectStore) -> None:
    url = f"s3://bucket/{uuid4()}"
    with (
        s3.spoiled(lambda *_: "forget If-None-Match"),
        pytest.raises(StorageError, match="let a second writer take the first one's name"),
    ):
        ArtifactStore.open(url)
    store = ArtifactStore.open(url)
    assert store._blobs.files("") == []
    with s3.spoiled(lambda *_: "refuse"), pytest.raises(StoreUnavailable):
        store.check()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        ArtifactStore.open(f"{tmp_path}/file/place")


def test_an_answer_lost_behind_the_record_is_a_commit(s3: ObjectStore, tmp_path: Path) -> None:
    store = ArtifactStore.open(f"s3://bucket/{uuid4()}", patience_s=0)
    with s3.spoiled(lambda method, path: "store and refuse" if (method, path[-11:]) == ("PUT", RECORD_FILE) else None):
        record = commit(store, tmp_path)
        assert s3.num_spoiled == 2  # botocore tried again
    assert record == store.find(WORK)


def test_a_store_that_fails_often_loses_nothing(s3: ObjectStore, tmp_path: Path) -> None:
    store = ArtifactStore.open(f"s3://bucket/{uuid4()}")
    with s3.spoiled(some(0.2, "refuse")):
        records = [commit(store, tmp_path, key(number)) for number in range(6)]
        num_refused = s3.num_spoiled
    with s3.spoiled(some(0.2, "store and refuse", seed=1)):
        records += [commit(store, tmp_path, key(number)) for number in range(6, 12)]
        assert (num_refused > 0, s3.num_spoiled > 0) == (True, True)
    assert records == [store.find(key(number)) for number in range(12)]
    assert list(store.orphans(SOON)) == []


def test_patience_ends(s3: ObjectStore, tmp_path: Path) -> None:
    store = ArtifactStore.open(f"s3://bucket/{uuid4()}", patience_s=0)
    with (
        s3.spoiled(lambda method, path: "refuse" if path.endswith(RECORD_FILE) and method == "PUT" else None),
        pytest.raises(StoreUnavailable, match="try again later"),
    ):
        commit(store, tmp_path)
    assert store.find(WORK) is None
    assert store.sweep(SOON) == 2


@pytest.mark.usefixtures("s3")
def test_a_signed_url_gives_the_file(tmp_path: Path) -> None:
    store = ArtifactStore.open(f"s3://bucket/{uuid4()}")
    video = commit(store, tmp_path).artifacts["preview.mp4"]
    url = store.sign(video, 60, file_name="video_1.mp4")
    assert url is not None
    assert "X-Amz-Expires=60" in url
    assert "X-Amz-Signature=" in url
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["content-disposition"] == 'attachment; filename="video_1.mp4"'
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.read() == b"0123456789"
    with pytest.raises(InputError, match="no file name"):
        store.sign(video, 60, file_name='x"; y.mp4')


def test_a_disk_signs_nothing(tmp_path: Path) -> None:
    store = ArtifactStore.open(f"{tmp_path}/place")
    assert store.sign(commit(store, tmp_path).artifacts["preview.mp4"], 60, file_name="video.mp4") is None
