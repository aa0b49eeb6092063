"""A stage's work: its key, the files that it reads, and how its files are made and kept.

The service's replicas and bulk jobs run works through these functions alone, so that a request gives both the same
files under the same key. Whoever imports it pays for no torch: only a process that makes a work loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from fv_ray.artifact_store import Artifact, ArtifactStore, Stage, StageRecord
from fv_ray.errors import DeviceFailed, DeviceOutOfMemory, InputError, ResultEmpty
from fv_ray.preview_folder import PREVIEW_FILE, read_preview
from fv_ray.results import make_preview, make_video
from fv_ray.storage import storage_errors
from fv_ray.types import OnProgress, VideoRequest
from fv_ray.video_io import Encoding
from fv_ray.work_key import stage_one_work_key, stage_two_work_key

if TYPE_CHECKING:
    import torch

    from fv_ray.stage_one import StageOne
    from fv_ray.stage_two import StageTwo

ENCODING = Encoding()
"""Of every video that is stored."""
Make = Callable[[Path, Path, OnProgress], object]
"""Reads what it needs from the first folder, writes its result to the second."""


@dataclass(frozen=True)
class Work:
    """One result of a stage that is to be."""

    stage: Stage
    key: str
    make: Make
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    """Stored files that it reads, by the name that it expects."""


def preview_work(
    stage_one: StageOne, request: VideoRequest, *, attention_backend: str = "native", salt: str = ""
) -> Work:
    """A request's preview. The backend is what the stage was given before."""
    key = stage_one_work_key(request, stage_one.checkpoint.digest, salt=salt)

    def make(_given: Path, made: Path, on_progress: OnProgress) -> None:
        make_preview(stage_one, request, made, attention_backend=attention_backend, on_progress=on_progress)

    return Work("stage_one", key, make)


def video_work(
    stage_two: StageTwo,
    request: VideoRequest,
    preview: StageRecord,
    *,
    attention_backend: str = "native",
    salt: str = "",
) -> Work:
    """The video of a stored preview.

    Raises:
        InputError: the record is not of a preview.
    """
    latents = _latents(preview)
    key = video_key(request, preview, stage_two.checkpoint.digest, salt=salt)

    def make(given: Path, made: Path, on_progress: OnProgress) -> None:
        preview = read_preview(given)
        make_video(
            stage_two,
            request,
            preview,
            made,
            ENCODING,
            attention_backend=attention_backend,
            on_progress=on_progress,
        )

    return Work("stage_two", key, make, {PREVIEW_FILE: latents})


def video_key(request: VideoRequest, preview: StageRecord, checkpoint_digest: str, *, salt: str = "") -> str:
    """The key of `video_work`, without the stage.

    Raises:
        InputError: the record is not of a preview.
    """
    sha256 = _latents(preview).sha256
    return stage_two_work_key(request, checkpoint_digest, preview_sha256=sha256, encoding=ENCODING, salt=salt)


def fetch(store: ArtifactStore, inputs: Mapping[str, Artifact], folder: Path) -> None:
    """Write a work's inputs into a folder, each checked.

    Raises:
        ArtifactDamaged: one is missing or not what was stored.
        StorageError: the store cannot be read, or the folder cannot be written.
    """
    for name, artifact in inputs.items():
        content = store.read(artifact)
        with storage_errors(folder):
            (folder / name).write_bytes(content)


def run_timed(make: Make, given: Path, made: Path, on_progress: OnProgress) -> float:
    """Make a result, blocking; the seconds that it takes.

    Raises:
        DeviceFailed: the device is of no more use to this process.
        DeviceOutOfMemory: the work needs more memory than there is.
        FvRayError: as `make` does.
    """
    start = perf_counter()
    with _device_errors():
        make(given, made, on_progress)
    return perf_counter() - start


def keep(
    store: ArtifactStore, work_key: str, stage: Stage, made: Path, *, device: str, device_seconds: float
) -> StageRecord:
    """Commit all files of a folder; the record that counts.

    Raises:
        ResultEmpty: a file has no content, or there is none.
        StorageError: as `ArtifactStore.commit`.
    """
    files = {file.name: file for file in sorted(made.iterdir())}
    empty = [name for name, file in files.items() if file.stat().st_size == 0]
    if empty or not files:
        told = ", ".join(empty) or "no file"
        raise ResultEmpty(f"{stage} left {told} without content; every file must have some: run it again")
    return store.commit(work_key, stage, files, device=device, device_seconds=device_seconds)


def device_name(device: torch.device) -> str:
    """As records tell it."""
    if device.type != "cuda":
        return device.type
    import torch

    return torch.cuda.get_device_name(device)


def _latents(preview: StageRecord) -> Artifact:
    latents = preview.artifacts.get(PREVIEW_FILE)
    if latents is None:
        raise InputError(f"the work {preview.work_key} has no {PREVIEW_FILE}; stage two needs one: run stage one first")
    return latents


@contextmanager
def _device_errors() -> Iterator[None]:
    """Tell errors of a device as errors that a caller without torch can read."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # those of torch are of the second kind
        told = _device_error(error)
        if told is None:
            raise
        raise told from None


def _device_error(error: BaseException) -> DeviceOutOfMemory | DeviceFailed | None:
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        torch.cuda.empty_cache()
        return DeviceOutOfMemory(_first_line(error))
    if isinstance(error, torch.AcceleratorError) or str(error).startswith(("CUDA error", "cuDNN error", "NCCL error")):
        return DeviceFailed(_first_line(error))
    return None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
