"""A folder of results that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fv_ray.errors import StorageError

PREFIX = ".fv-ray."
"""Of the temporary folders."""


def require_new(target: str | Path) -> None:
    """Refuse a place that is taken or cannot be written, before any work is done for it.

    Raises:
        StorageError: `target` exists and is not an empty folder, or nothing can be made there.
    """
    target = Path(target)
    with storage_errors(target):
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise StorageError(f"{target} already exists; give a new folder or remove it first")
        nearest = next(place for place in (target, *target.absolute().parents) if place.exists())
        os.rmdir(tempfile.mkdtemp(prefix=PREFIX, dir=nearest))


@contextmanager
def new_directory(target: str | Path) -> Iterator[Path]:
    """Give a temporary folder and move it to `target` when the block ends without an error.

    A new folder appears at once. One that is there and empty, such as a mounted volume, is filled, folders first.

    Raises:
        StorageError: `target` is taken, or the disk refuses (full, read-only, no permission); nothing is left behind.
    """
    target = Path(target)
    require_new(target)
    is_there = target.is_dir()
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=PREFIX, dir=target if is_there else target.parent))
    try:
        yield staged
        with storage_errors(target):
            _set_usual_permissions(staged)
            if is_there:
                _move_contents(staged, target)
            else:
                os.rename(staged, target)  # an empty folder is replaced, a filled one is not
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def storage_errors(target: object, *others: type[Exception]) -> Iterator[None]:
    """Tell an error of the disk, or one of `others`, as a StorageError that names `target`."""
    told: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except told as error:
        raise StorageError(f"{target} cannot be written ({error}); free space or give another folder") from error


def _move_contents(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir(), key=lambda path: path.is_file()):
        os.rename(path, target / path.name)


def _set_usual_permissions(folder: Path) -> None:
    """What the umask says: mkdtemp and safetensors make what only their owner can read.

    A file that has other names is another folder's too, and is left as it is.
    """
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() or path.stat().st_nlink == 1:
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
