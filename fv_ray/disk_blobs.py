"""`fv_ray.blobs` in a folder on a local disk: what was stored outlives a loss of power, and links lead nowhere.

fsspec's local disk does not do: its `mode="create"` looks first and opens then, so that two writers can pass, and a
reader sees a file that is half written.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from fv_ray.errors import StorageError
from fv_ray.storage import storage_errors


class DiskBlobs:
    """A folder, which is made; its methods are those of `Blobs`."""

    def __init__(self, root: Path) -> None:
        with storage_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        self._root = Path(os.path.realpath(root))
        self._kept: set[Path] = set()
        """Folders whose own names outlive a loss of power; of those that hold folders, which nobody removes."""

    def __str__(self) -> str:
        return str(self._root)

    def put(self, path: str, source: Path) -> None:
        """Of `Blobs`."""
        self.put_all({path: source})
        place = self._place(path)
        with storage_errors(place):
            self._keep_name(place)

    def put_all(self, sources: Mapping[str, Path]) -> None:
        """Of `Blobs`. A disk writes them no sooner side by side."""
        for path, source in sources.items():
            place = self._place(path)
            with storage_errors(place), source.open("rb") as content, self._staged(place, content) as staged:
                os.replace(staged, place)  # its name is kept by the next `create` in its folder

    def create(self, path: str, data: bytes, *, is_durable: bool = True) -> bool:
        """Of `Blobs`."""
        place = self._place(path)
        with storage_errors(place), self._staged(place, BytesIO(data), is_durable=is_durable) as staged:
            if is_durable:
                _sync(place.parent)  # no loss of power leaves this name without those that were put before it
            try:
                os.link(staged, place)  # unlike a rename, it fails where the name is taken
            except FileExistsError:
                return False
            if is_durable:
                self._keep_name(place)
            return True

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Of `Blobs`."""
        place = self._place(path)
        try:
            with place.open("rb") as file:
                file.seek(start)
                return file.read(-1 if end is None else end - start)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{place} cannot be read ({error}); mend the disk or remove the file") from error

    def remove(self, path: str) -> None:
        """Of `Blobs`. A folder that is empty then goes with its last file."""
        place = self._place(path)
        with storage_errors(place):
            place.unlink(missing_ok=True)
        with suppress(OSError):  # it holds other files, or is gone already
            place.parent.rmdir()

    def folders(self, folder: str) -> Sequence[str]:
        """Of `Blobs`."""
        with storage_errors(self._place(folder)), suppress(FileNotFoundError), os.scandir(self._place(folder)) as found:
            return [f"{folder}/{entry.name}" for entry in found if entry.is_dir(follow_symlinks=False)]
        return []

    def files(self, folder: str) -> Sequence[str]:
        """Of `Blobs`."""
        found = (Path(place) / name for place, _, names in os.walk(self._place(folder)) for name in names)
        return [path.relative_to(self._root).as_posix() for path in found if not path.is_symlink()]

    def modified(self, path: str) -> datetime | None:
        """Of `Blobs`."""
        place = self._place(path)
        with storage_errors(place), suppress(FileNotFoundError):
            return datetime.fromtimestamp(place.stat().st_mtime, UTC)
        return None

    def sign(self, path: str, expires_s: int, *, file_name: str, media_type: str) -> str | None:  # noqa: ARG002
        """Of `Blobs`."""
        return None

    def _place(self, path: str) -> Path:
        place = self._root / path
        if not Path(os.path.realpath(place)).is_relative_to(self._root):
            raise StorageError(f"{place} leads out of {self._root}, and only files in it are allowed; remove the link")
        return place

    @contextmanager
    def _staged(self, place: Path, content: BinaryIO, *, is_durable: bool = True) -> Iterator[Path]:
        """Give a hidden file beside `place` that holds the content, on the disk; what is left of it goes at the end."""
        for folder in reversed(self._folders_of(place)[:-1]):  # a root that is gone, such as a lost mount, stays gone
            with suppress(FileExistsError):
                folder.mkdir()
                self._kept.discard(folder)
        staged = place.with_name(f".{place.name}.{uuid4().hex}")
        try:
            with staged.open("xb") as file:
                shutil.copyfileobj(content, file)
                file.flush()
                if is_durable:
                    os.fsync(file.fileno())
            yield staged
        finally:
            staged.unlink(missing_ok=True)

    def _keep_name(self, place: Path) -> None:
        """Let a file's name outlive a loss of power, and those of its folders, which another process may have made."""
        inner, *outer = self._folders_of(place)
        _sync(inner)
        for folder in outer:
            if inner in self._kept:
                break
            _sync(folder)
            inner = folder
        self._kept.update(outer)

    def _folders_of(self, place: Path) -> Sequence[Path]:
        """From the file's own up to the root."""
        return place.parents[: len(place.relative_to(self._root).parts)]


def _sync(folder: Path) -> None:
    """Make the names in a folder outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
