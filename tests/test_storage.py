import os
import re
import stat
from pathlib import Path

import pytest

from fv_ray.errors import StorageError
from fv_ray.storage import new_directory, require_new, storage_errors


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result"
    with new_directory(target) as staged:
        (staged / "sub").mkdir()
        (staged / "sub" / "file").write_text("content")
        assert not target.exists()
        assert staged.parent == target.parent
    assert (target / "sub" / "file").read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, StorageError])
def test_an_error_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fill() -> None:
        with new_directory(tmp_path / "result") as staged:
            (staged / "file").touch()
            raise error

    with pytest.raises(error):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_disk_says_what_to_do(tmp_path: Path) -> None:
    message = rf"result cannot be written \(.*{os.strerror(28)}.*\); free space or give another folder"
    with (
        pytest.raises(StorageError, match=message),
        new_directory(tmp_path / "result"),
        storage_errors(tmp_path / "result"),
    ):
        raise OSError(28, os.strerror(28))
    assert list(tmp_path.iterdir()) == []


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    filled, file = tmp_path / "filled", tmp_path / "file"
    filled.mkdir()
    (filled / "mine").touch()
    file.touch()
    for target in (filled, file):
        message = rf"{re.escape(str(target))} already exists; give a new folder or remove it first"
        with pytest.raises(StorageError, match=message), new_directory(target):
            pytest.fail("the block must not run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "filled"]
    assert [path.name for path in filled.iterdir()] == ["mine"]


def test_a_folder_that_was_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "result"

    def fill() -> None:
        with new_directory(target):
            target.mkdir()
            (target / "mine").touch()

    with pytest.raises(StorageError, match="cannot be written"):
        fill()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.mkdir()
    with new_directory(target) as staged:
        (staged / "file").touch()
    assert [path.name for path in target.iterdir()] == ["file"]


def test_a_place_that_cannot_hold_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"), new_directory(tmp_path / "file" / "result"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with new_directory(tmp_path / "result"):
            pass
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/below"])
def test_a_place_that_cannot_be_written_is_refused_first(place: str) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        require_new(place)


def test_a_dangling_link_is_taken(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="already exists"):
        require_new(tmp_path / "link")


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_directory(tmp_path / "link") as staged:
        (staged / "part").mkdir()
        (staged / "part" / "file").touch()
        (staged / "index.json").touch()
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["index.json", "part"]
    assert (tmp_path / "link").is_symlink()


def test_the_working_folder_is_filled_where_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with new_directory(".") as staged:
        (staged / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_may_be_read_as_the_umask_says(tmp_path: Path) -> None:
    with new_directory(tmp_path / "result") as staged:
        (staged / "part").mkdir(mode=0o700)
        (staged / "part" / "private").touch(mode=0o600)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "result" / "part" / "private").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "result" / "part").stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("error", [InterruptedError, TimeoutError, ConnectionError])
def test_an_error_of_the_work_itself_stays_what_it_is(tmp_path: Path, error: type[OSError]) -> None:
    def work() -> None:
        with new_directory(tmp_path / "result"):
            raise error

    with pytest.raises(error):
        work()
    assert list(tmp_path.iterdir()) == []


def test_names_of_any_length(tmp_path: Path) -> None:
    with new_directory(tmp_path / ("x" * 250)):
        pass
    with pytest.raises(StorageError, match="cannot be written"):
        require_new(tmp_path / ("x" * 300))
