"""A folder or a table on any fsspec URL to a list of video files with their captions.

Reads names and captions, never a video.
"""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import fsspec

from fv_ray.errors import InputError
from jobs.read_table import TABLE_SUFFIXES, read_table

VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".mkv")
FOLDER_TABLE = "captions.csv"


@dataclass(frozen=True)
class VideoFile:
    """A file that was asked for, whether or not it is one."""

    path: str
    """As the table says, or within the folder."""
    url: str
    """fsspec's."""
    caption: str
    """Empty where there is none."""
    is_repeated: bool = False
    """An earlier row has the same path."""


def list_videos(source: str, path_column: str = "path", caption_column: str = "caption") -> list[VideoFile]:
    """Every video of a folder or a table, in a fixed order: a table's own, then a folder's by name.

    A folder's captions come from its `captions.csv`, else from a text file beside each video.

    Args:
        source: URL of a folder or of a table.
        path_column: of the table; paths are relative to it, or URLs.
        caption_column: of the table.

    Raises:
        InputError: there is nothing at `source`, a column is missing, or no video is there.
        StorageError: the table cannot be read.
    """
    fs, root = fsspec.core.url_to_fs(source)
    if fs.isdir(root):
        files = _in_folder(fs, root.rstrip("/"), path_column, caption_column)
    elif not fs.exists(root):
        raise InputError(f"there is nothing at {source}; give a folder of videos, or a table of paths and captions")
    elif root.endswith(TABLE_SUFFIXES):
        files = _in_table(fs, root, path_column, caption_column)
    else:
        raise InputError(f"{source} is no folder; a table must be one of {', '.join(TABLE_SUFFIXES)}: rename it")
    if not files:
        raise InputError(f"{source} names no video; allowed are {', '.join(VIDEO_SUFFIXES)} files, or rows of a table")
    return _marked(files)


def _in_folder(fs: fsspec.AbstractFileSystem, root: str, path_column: str, caption_column: str) -> list[VideoFile]:
    names = sorted(path.removeprefix(root).lstrip("/") for path in fs.find(root))
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    told: list[VideoFile] = []
    if FOLDER_TABLE in names:
        told = _in_table(fs, f"{root}/{FOLDER_TABLE}", path_column, caption_column)
    videos = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    untold = [name for name in videos if name not in {file.path for file in told}]
    texts = {name: str(PurePosixPath(name).with_suffix(".txt")) for name in untold}
    there = [f"{root}/{text}" for text in texts.values() if text in set(names)]
    captions = fs.cat(there, on_error="raise") if there else {}
    captions = {path: data.decode("utf-8-sig", "replace").strip() for path, data in captions.items()}
    return told + [
        VideoFile(name, fs.unstrip_protocol(f"{root}/{name}"), captions.get(f"{root}/{texts[name]}", ""))
        for name in untold
    ]


def _in_table(fs: fsspec.AbstractFileSystem, table: str, path_column: str, caption_column: str) -> list[VideoFile]:
    columns, rows = read_table(fs, table)
    for option, column in (("--path-column", path_column), ("--caption-column", caption_column)):
        if column not in columns:
            raise InputError(
                f"{table} has no column {column!r}; it has {', '.join(columns) or 'none'}: name one with {option}"
            )
    folder = table.rpartition("/")[0]
    files = []
    for row in rows:
        path, caption = (str(row.get(column) or "").strip() for column in (path_column, caption_column))
        url = path if "://" in path else fs.unstrip_protocol(path if path.startswith("/") else f"{folder}/{path}")
        files.append(VideoFile(path, url, caption))
    return files


def _marked(files: list[VideoFile]) -> list[VideoFile]:
    seen: set[str] = set()
    marked = []
    for file in files:
        marked.append(replace(file, is_repeated=file.path in seen))
        seen.add(file.path)
    return marked
