"""A job's output folder: what was asked for is written first; the same command goes on, another is refused."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import fsspec

from fv_ray.errors import StorageError
from fv_ray.storage import storage_errors

RECIPE_FILE = "recipe.json"


def begin_folder(fs: fsspec.AbstractFileSystem, root: str, wanted: Mapping[str, Any]) -> None:
    """Write down what is wanted in a new folder, or see that the same was begun in it.

    Args:
        fs: of the folder.
        root: the folder.
        wanted: all that decides the result, as JSON allows.

    Raises:
        StorageError: the folder holds other files, or a run of other values: each is named.
    """
    note = f"{root}/{RECIPE_FILE}"
    with storage_errors(root):
        fs.makedirs(root, exist_ok=True)
        is_used = any(not name.startswith(".") for name in names_in(fs, root))  # a killed run's hidden file is none
        if not fs.exists(note):
            if is_used:
                raise StorageError(f"{root} holds files that were not begun here; give a new folder or remove it first")
            write_whole(fs, note, (json.dumps(wanted, indent=2) + "\n").encode())
            return
    try:
        begun: dict[str, Any] = json.loads(fs.cat_file(note))
    except (OSError, ValueError) as error:
        raise StorageError(f"{note} cannot be read as JSON ({error}); remove the folder and begin again") from error
    if changed := differences(begun, json.loads(json.dumps(wanted))):
        raise StorageError(f"{root} was begun otherwise: {'; '.join(changed)}; give the same values or a new folder")


def names_in(fs: fsspec.AbstractFileSystem, folder: str) -> set[str]:
    """Of what is in a folder; object stores have none until a file is in it."""
    fs.invalidate_cache()
    try:
        return {path.rstrip("/").rpartition("/")[2] for path in fs.ls(folder, detail=False)} - {""}
    except FileNotFoundError:
        return set()


def write_whole(fs: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    folder, _, name = path.rpartition("/")
    staged = f"{folder}/.{name}.{uuid.uuid4().hex}"
    fs.pipe_file(staged, data)
    fs.mv(staged, path)


def differences(begun: object, wanted: object, name: str = "") -> list[str]:
    """Each value that differs, by its name."""
    if isinstance(begun, dict) and isinstance(wanted, dict):
        keys = list({**wanted, **begun})
        return [
            told
            for key in keys
            for told in differences(begun.get(key), wanted.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if begun == wanted else [f"{name} is {begun!r} there and {wanted!r} here"]
