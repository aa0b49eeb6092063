"""Bytes under names in one place: they appear whole, and of two that create one name the first wins.

A place is a folder on a local disk (`disk_blobs`), or what fsspec reaches: S3, GCS, and memory in tests. Knows nothing
of what the bytes mean.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Protocol

import fsspec

from fv_ray.disk_blobs import DiskBlobs
from fv_ray.errors import InputError, StorageError, StoreUnavailable
from fv_ray.storage import storage_errors

ALLOWED = "allowed are a local folder and file:///FOLDER, s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, memory://FOLDER"
_REMOTE = re.compile(r"(s3|gs|memory)://([\w=-][\w.=-]*(?:/[\w=-][\w.=-]*)*)/?", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_OPTIONS = {"s3": {"config_kwargs": {"signature_version": "s3v4"}}}
"""botocore still signs some URLs by version 2, which buckets made since 2020 refuse."""
_SIGNED_HEADERS = {
    "s3": ("ResponseContentDisposition", "ResponseContentType"),
    "gs": ("response_disposition", "response_type"),
}
"""What a store calls the file name and the media type that a signed URL answers with."""
_MEMORY = Lock()
"""fsspec's memory looks first and writes then, like its local disk; it is one for the whole process."""


class Blobs(Protocol):
    """A place. Paths are relative to it, with / between their parts. Every method may raise StorageError."""

    def put(self, path: str, source: Path) -> None:
        """Store a file, in place of another of that name."""
        ...

    def put_all(self, sources: Mapping[str, Path]) -> None:
        """As `put`, of each; at once where that is faster. The next `create` in their folder keeps them for good."""
        ...

    def create(self, path: str, data: bytes, *, is_durable: bool = True) -> bool:
        """Store bytes where none are. False: the name is taken, perhaps by an earlier try of this very call.

        What need not be durable may be lost with the machine's power, and costs no wait for a disk.
        """
        ...

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Bytes start to end (exclusive); None where there is no such file."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; nothing where there is none."""
        ...

    def folders(self, folder: str) -> Sequence[str]:
        """The folders in a folder; none where it is not there."""
        ...

    def files(self, folder: str) -> Sequence[str]:
        """All files below a folder; none where it is not there."""
        ...

    def modified(self, path: str) -> datetime | None:
        """When a file was last written, with its time zone; None where it is not there."""
        ...

    def sign(self, path: str, expires_s: int, *, file_name: str, media_type: str) -> str | None:
        """A URL for whoever has it; None where the place has no such thing."""
        ...


def open_blobs(url: str) -> Blobs:
    """Open a place; a local folder is made.

    Raises:
        InputError: the URL is not allowed, or the package for it is not installed.
        StorageError: the folder cannot be made.
    """
    if not url or "::" in url or "\0" in url:
        raise InputError(f"{url!r} is no place for results; {ALLOWED}: set another storage URL")
    if url.startswith("file:///") or not _SCHEME.match(url):
        return DiskBlobs(Path(url.removeprefix("file://")).expanduser())
    remote = _REMOTE.fullmatch(url)
    if remote is None:
        raise InputError(f"{url!r} is no place for results; {ALLOWED}: set another storage URL")
    protocol, root = remote.groups()
    try:
        # A cached listing would hide what another process has stored since.
        fs = fsspec.filesystem(protocol, use_listings_cache=False, **_OPTIONS.get(protocol, {}))
    except ImportError as error:
        raise InputError(f"{url} needs a package that is not installed ({error}); {ALLOWED}: install it") from error
    return ObjectBlobs(fs, protocol, root, _MEMORY if protocol == "memory" else nullcontext())


class ObjectBlobs:
    """A folder of an object store, through fsspec. Its library repeats what fails at first."""

    def __init__(
        self, fs: fsspec.AbstractFileSystem, protocol: str, root: str, creating: AbstractContextManager[object]
    ) -> None:
        self._fs, self._protocol, self._root, self._creating = fs, protocol, root, creating

    def __str__(self) -> str:
        return f"{self._protocol}://{self._root}"

    def put(self, path: str, source: Path) -> None:
        """Of `Blobs`."""
        self.put_all({path: source})

    def put_all(self, sources: Mapping[str, Path]) -> None:
        """Of `Blobs`."""
        contents = {}
        for path, source in sources.items():
            with storage_errors(source):
                contents[self._at(path)] = source.read_bytes()
        with self._errors(posixpath.commonpath(sources or [""])):
            self._fs.pipe(contents)

    def create(self, path: str, data: bytes, *, is_durable: bool = True) -> bool:  # noqa: ARG002
        """Of `Blobs`. What an object store has answered is durable."""
        with self._errors(path):
            try:
                with self._creating:
                    self._fs.pipe_file(self._at(path), data, mode="create")
            except FileExistsError:
                return False
            except Exception:
                # The answer was lost behind a write that was done, or a store says "taken" in words of its own.
                if self.read(path) is None:
                    raise
                return False
            return True

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Of `Blobs`."""
        limits = {} if (start, end) == (0, None) else {"start": start, "end": end}
        with self._errors(path), suppress(FileNotFoundError):
            content: bytes = self._fs.cat_file(self._at(path), **limits)
            return content
        return None

    def remove(self, path: str) -> None:
        """Of `Blobs`."""
        with self._errors(path), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    def folders(self, folder: str) -> Sequence[str]:
        """Of `Blobs`."""
        with self._errors(folder), suppress(FileNotFoundError):
            found = self._fs.ls(self._at(folder), detail=True)
            return [self._relative(entry["name"]) for entry in found if entry["type"] == "directory"]
        return []

    def files(self, folder: str) -> Sequence[str]:
        """Of `Blobs`."""
        with self._errors(folder), suppress(FileNotFoundError):
            found = self._fs.find(
                self._at(folder), detail=True
            )  # s3fs tells a folder that is being filled as one of them
            return [self._relative(name) for name, entry in found.items() if entry["type"] == "file"]
        return []

    def modified(self, path: str) -> datetime | None:
        """Of `Blobs`."""
        with self._errors(path), suppress(FileNotFoundError):
            time: datetime = self._fs.modified(self._at(path))
            return time
        return None

    def sign(self, path: str, expires_s: int, *, file_name: str, media_type: str) -> str | None:
        """Of `Blobs`."""
        if self._protocol not in _SIGNED_HEADERS:
            return None
        headers = zip(_SIGNED_HEADERS[self._protocol], (f'attachment; filename="{file_name}"', media_type), strict=True)
        with self._errors(path):
            url: str = self._fs.sign(self._at(path), expiration=expires_s, **dict(headers))
            return url

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _relative(self, name: str) -> str:
        return name.lstrip("/").removeprefix(f"{self._root}/")

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Tell an error of the store's library, of which there are many and of no common kind, as one of ours."""
        try:
            yield
        except StorageError:
            raise
        except (FileNotFoundError, NotImplementedError, PermissionError, TypeError, ValueError) as error:
            raise StorageError(
                f"{self}/{path} is refused ({error}); the bucket must be there and allow reading, writing and listing: "
                "see its name, region and credentials"
            ) from error
        except Exception as error:
            raise StoreUnavailable(
                f"{self}/{path} cannot be reached ({type(error).__name__}: {error}); the store must answer: "
                "try again later"
            ) from error
