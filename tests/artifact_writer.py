"""What other processes do to an artifact store: functions that a test starts and kills.

process = start(write_until_killed, url, folder)
"""

import multiprocessing
import os
import random
import resource
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from fv_ray.artifact_store import ArtifactStore
from fv_ray.errors import StorageError

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", __name__])


def start(function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Run a function of this module in a process that is forked from a fresh one, so that it starts at once."""
    process = _PROCESSES.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def key(number: int) -> str:
    """A work key."""
    return f"{number:064x}"


def write_files(folder: Path, **contents: bytes) -> dict[str, Path]:
    """Files of a stage: video_mp4=... is video.mp4."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name.replace("_", "."): folder / name for name in contents}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return files


def write_until_killed(url: str, folder: Path, first: int) -> None:
    """Commit one work after another, in files of a few hundred KB; a file "begun" appears after the first."""
    store, draws = ArtifactStore.open(url), random.Random(first)
    for number in range(first, first + 1_000_000):
        files = write_files(folder / "files", preview_mp4=draws.randbytes(300_000), preview_json=draws.randbytes(2_000))
        store.commit(key(number), "stage_one", files, device="cpu", device_seconds=1)
        (folder / "begun").touch()


def commit_works(url: str, folder: Path, num_works: int) -> None:
    """Commit each work with bytes of this process, and write down the record that is said to count."""
    files = write_files(folder, preview_mp4=f"process {os.getpid()}".encode())
    store = ArtifactStore.open(url)
    (folder / "ready").touch()
    while not (folder.parent / "go").exists():
        pass
    for number in range(num_works):
        record = store.commit(key(number), "stage_one", files, device=f"process {os.getpid()}", device_seconds=1)
        (folder / f"{number}.json").write_text(record.model_dump_json())


def commit_on_a_full_disk(url: str, folder: Path, max_file_bytes: int) -> None:
    """Commit work 0 where no file can be longer than that; exit with 3 where that is told as a StorageError."""
    files = write_files(folder, preview_mp4=b"x" * 300)
    store = ArtifactStore.open(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    try:
        store.commit(key(0), "stage_one", files, device="cpu", device_seconds=1)
    except StorageError:
        os._exit(3)
