"""A folder of results that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fv_ray.errors import StorageError


def require_new(target: str | Path) -> None:
    """Refuse a place that is taken or cannot be written, before any work is done for it.

    Raises:
        StorageError: `target` exists and is not an empty folder, or nothing can be made there.
    """
    target = Path(target)
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise StorageError(f"{target} already exists; give a new folder or remove it first")
    nearest = next(place for place in (target, *target.absolute().parents) if place.exists())
    with _told(target):
        os.rmdir(tempfile.mkdtemp(prefix=".probe.", dir=nearest))


@contextmanager
def new_directory(target: str | Path) -> Iterator[Path]:
    """Give a temporary folder and move it to `target` when the block ends without an error.

    A new folder appears at once. One that is there and empty, such as a mounted volume, is filled, folders first.

    Raises:
        StorageError: `target` is taken, or the disk refuses (full, read-only, no permission);
            nothing is left behind.
    """
    target = Path(target)
    require_new(target)
    is_there = target.is_dir()
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target if is_there else target.parent))
        try:
            yield staged
            _set_usual_permissions(staged)
            if is_there:
                _move_contents(staged, target)
            else:
                os.rename(staged, target)  # an empty folder is replaced, a filled one is not
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _move_contents(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir(), key=lambda path: path.is_file()):
        os.rename(path, target / path.name)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error}); free space or give another folder") from error


def _set_usual_permissions(folder: Path) -> None:
    """What the umask says: mkdtemp and safetensors make what only their owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
