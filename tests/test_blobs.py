import os
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import s3fs

from fv_ray.blobs import open_blobs
from fv_ray.errors import InputError, StorageError, StoreUnavailable
from tests.object_store import ObjectStore

NUM_THREADS = 8
REFUSED = [
    "",
    "simplecache::file:///etc",
    "reference://root",
    "zip://results.zip",
    "http://bucket/results",
    "https://bucket/results",
    "github://owner:repo@/results",
    "data:,x",
    "file://results",
    "s3://",
    "s3:bucket/results",
    "S3://bucket/results",
    "s3://bucket/../other",
    "s3://bucket//results",
    "s3://bucket/results?versionId=1",
    "s3://key:secret@bucket/results",
    "memory://",
    "results\0",
]


def all_at_once(function: Callable[[int], object]) -> list[object]:
    """What it gives for 0, 1, ... in as many threads, which begin together."""
    results: list[object] = [None] * NUM_THREADS
    barrier = threading.Barrier(NUM_THREADS)

    def run(number: int) -> None:
        barrier.wait()
        results[number] = function(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(NUM_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("url", REFUSED)
def test_other_places_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="allowed are a local folder"):
        open_blobs(url)


def test_a_local_folder_may_be_told_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("place")
    urls = ["place", "./place/", str(tmp_path / "place"), f"file://{tmp_path}/place", "~/place", "link"]
    assert {str(open_blobs(url)) for url in urls} == {str(tmp_path / "place")}


def test_what_is_stored_is_read_back(place: str, tmp_path: Path) -> None:
    blobs, source = open_blobs(place), tmp_path / "source"
    source.write_bytes(b"0123456789")
    blobs.put("w/ab/one.mp4", source)
    source.write_bytes(b"other")
    blobs.put_all({"w/cd/two.mp4": source})
    assert blobs.read("w/ab/one.mp4") == b"0123456789"
    assert blobs.read("w/ab/one.mp4", 2, 5) == b"234"
    assert blobs.read("w/ab/one.mp4", 7) == b"789"
    assert sorted(blobs.folders("w")) == ["w/ab", "w/cd"]
    assert blobs.files("w/ab") == ["w/ab/one.mp4"]
    assert sorted(blobs.files("w")) == ["w/ab/one.mp4", "w/cd/two.mp4"]
    written = blobs.modified("w/ab/one.mp4")
    assert written is not None
    assert abs(datetime.now(UTC) - written) < timedelta(hours=1)

    blobs.put("w/ab/one.mp4", source)
    assert blobs.read("w/ab/one.mp4") == b"other"
    for _ in range(2):
        blobs.remove("w/ab/one.mp4")
    assert blobs.files("w/ab") == []


def test_what_is_not_there_is_nothing(place: str) -> None:
    blobs = open_blobs(place)
    assert (blobs.read("w/nothing"), blobs.read("w/nothing", 0, 9), blobs.modified("w/nothing")) == (None, None, None)
    assert (blobs.folders("w"), blobs.files("w")) == ([], [])


def test_of_many_that_create_one_name_the_first_wins(place: str) -> None:
    blobs = open_blobs(place)
    for race in range(3 if place.startswith(("s3", "gs")) else 40):
        won = all_at_once(lambda number, path=f"w/{race}/record": blobs.create(path, f"{number}".encode()))
        assert won.count(True) == 1
        assert blobs.read(f"w/{race}/record") == f"{won.index(True)}".encode()


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    blobs, sizes, seen = open_blobs(f"{tmp_path}/place"), [3_000_000, 5_000_000], set()
    for size in sizes:
        (tmp_path / str(size)).write_bytes(b"x" * size)
    blobs.put("w/file", tmp_path / str(sizes[0]))
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            seen.add(len(blobs.read("w/file") or b""))

    reader = threading.Thread(target=read)
    reader.start()
    for size in sizes * 5:
        blobs.put("w/file", tmp_path / str(size))
    is_over.set()
    reader.join()
    assert seen <= {*sizes}
    assert blobs.files("w") == ["w/file"]


def test_what_was_put_outlives_a_loss_of_power_before_the_name_that_commits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []
    sync, link, replace = os.fsync, os.link, os.replace

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        told.append(("sync", os.fstat(descriptor).st_ino))

    def note_link(staged: Path, place: Path) -> None:
        link(staged, place)
        told.append(("link", place.stat().st_ino))

    def note_replace(staged: Path, place: Path) -> None:
        replace(staged, place)
        told.append(("replace", place.stat().st_ino))

    for name, noting in (("fsync", note_sync), ("link", note_link), ("replace", note_replace)):
        monkeypatch.setattr(os, name, noting)
    source, root = tmp_path / "source", tmp_path / "root"
    source.write_bytes(b"frames")
    place = open_blobs(str(root))
    place.put_all({"w/aa/video.mp4": source})
    place.create("w/aa/record.json", b"{}")

    folders = [("sync", folder.stat().st_ino) for folder in (root / "w/aa", root / "w", root)]
    video, record = ((root / "w/aa" / name).stat().st_ino for name in ("video.mp4", "record.json"))
    put, committed = told.index(("replace", video)), told.index(("link", record))
    assert ("sync", video) in told[:put]
    assert {("sync", record), folders[0]} <= set(told[put:committed])
    assert set(folders) <= set(told[committed:])


def test_what_was_put_alone_outlives_a_loss_of_power_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, root, told = tmp_path / "source", tmp_path / "root", list[int]()
    source.write_bytes(b"rows")
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (sync(descriptor), told.append(os.fstat(descriptor).st_ino)))
    monkeypatch.setattr(os, "replace", lambda staged, place: (replace(staged, place), told.append(0)))
    open_blobs(str(root)).put("manifest/v0001/part", source)
    put = told.index(0)
    folders = {folder.stat().st_ino for folder in (root / "manifest/v0001", root / "manifest", root)}
    assert (root / "manifest/v0001/part").stat().st_ino in told[:put]
    assert folders <= {*told[put:]}


def test_a_new_folder_s_name_outlives_a_loss_of_power_and_an_old_one_s_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    root = tmp_path / "root"
    blobs = open_blobs(str(root))

    def synced_folders(path: str) -> set[str]:
        synced.clear()
        blobs.create(path, b"{}")
        folders = {
            folder.stat().st_ino: name
            for name in ("w/aa/1", "w/aa/2", "w/aa", "w", "")
            if (folder := root / name).exists()
        }
        return {folders[inode] for inode in synced if inode in folders}

    assert synced_folders("w/aa/1/record") == {"w/aa/1", "w/aa", "w", ""}
    assert synced_folders("w/aa/2/record") == {"w/aa/2", "w/aa"}
    shutil.rmtree(root / "w/aa")
    assert synced_folders("w/aa/1/record") == {"w/aa/1", "w/aa", "w"}


def test_what_may_be_lost_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blobs(f"{tmp_path}/place")
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("the disk was waited for"))
    assert blobs.create("w/mark", b"first", is_durable=False)
    assert not blobs.create("w/mark", b"second", is_durable=False)
    assert blobs.read("w/mark") == b"first"


def test_links_lead_nowhere(tmp_path: Path) -> None:
    blobs, outside = open_blobs(f"{tmp_path}/place"), tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "place" / "w").mkdir()
    (tmp_path / "place" / "w" / "file").symlink_to(outside / "secret")
    (tmp_path / "place" / "w" / "folder").symlink_to(outside)
    for path in ("w/file", "w/folder/secret", "../outside/secret", f"{outside}/secret"):
        for use in (
            blobs.read,
            lambda path: blobs.put(path, outside / "secret"),
            lambda path: blobs.create(path, b"x"),
            blobs.remove,
        ):
            with pytest.raises(StorageError, match="leads out of"):
                use(path)
    assert (blobs.files("w"), blobs.folders("w")) == ([], [])
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """A disk may have been unmounted under it."""
    blobs = open_blobs(f"{tmp_path}/place")
    (tmp_path / "place").rmdir()
    with pytest.raises(StorageError, match="cannot be written"):
        blobs.create("w/record", b"x")
    assert not (tmp_path / "place").exists()


def test_files_may_be_read_as_the_umask_says(tmp_path: Path) -> None:
    blobs = open_blobs(f"{tmp_path}/place")
    blobs.create("w/record", b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "place" / "w" / "record").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.usefixtures("s3")
def test_what_another_client_stores_is_seen_at_once() -> None:
    folder = f"bucket/{uuid4()}"
    blobs, other = open_blobs(f"s3://{folder}"), s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file(f"{folder}/w/ab/one", b"1")
    assert blobs.files("w/ab") == ["w/ab/one"]
    other.pipe_file(f"{folder}/w/ab/two", b"2")
    assert blobs.read("w/ab/two") == b"2"
    assert blobs.files("w/ab") == ["w/ab/one", "w/ab/two"]


def test_an_answer_that_is_lost_leaves_the_name_taken(s3: ObjectStore) -> None:
    blobs = open_blobs(f"s3://bucket/{uuid4()}")
    with s3.spoiled(lambda method, _: "store and refuse" if method == "PUT" else None):
        assert blobs.create("w/record", b"ours") is False
    assert blobs.read("w/record") == b"ours"


def test_a_store_that_refuses_everything_is_told(s3: ObjectStore, tmp_path: Path) -> None:
    blobs = open_blobs(f"s3://bucket/{uuid4()}")
    (tmp_path / "source").touch()
    with s3.spoiled(lambda *_: "refuse"):
        for use in (
            lambda: blobs.create("w/record", b"x"),
            lambda: blobs.put("w/file", tmp_path / "source"),
            lambda: blobs.read("w/record"),
            lambda: blobs.files("w"),
        ):
            with pytest.raises(StoreUnavailable, match="try again later"):
                use()
    assert blobs.files("w") == []


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_told() -> None:
    with pytest.raises(StorageError, match="bucket does not exist.*see its name"):
        open_blobs("s3://nothing/results").create("w/record", b"x")
