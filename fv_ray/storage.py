"""A folder of results that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fv_ray.errors import StorageError


def require_new(target: str | Path) -> None:
    """Refuse a place that is taken, before any work is done for it.

    Raises:
        StorageError: `target` exists and is not an empty folder.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target} already exists; give a new folder or remove it first")


@contextmanager
def new_directory(target: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `target` and move it into place when the block ends without an error.

    Raises:
        StorageError: `target` is taken, or the disk refuses (full, read-only, no permission);
            nothing is left behind.
    """
    target = Path(target)
    require_new(target)
    staged: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield staged
        _set_usual_permissions(staged)
        os.replace(staged, target)  # an empty folder is replaced, a filled one is not
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error}); free space or give another folder") from error
    finally:
        if staged is not None and staged.exists():
            shutil.rmtree(staged, ignore_errors=True)


def _set_usual_permissions(folder: Path) -> None:
    """What the umask says: mkdtemp and safetensors make what only their owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
