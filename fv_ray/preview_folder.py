"""A preview or a video as a folder that a person can look at and stage two can commit later.

FOLDER/preview.safetensors     the latents, exactly, under a header with the request that made them
       preview.mp4 preview.webp preview_sheet.webp    for people, never for stage two
       video.mp4   video.webp   video_sheet.webp      stage two's result
       preview.json video.json                        how each was made; written last: its presence means complete
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import numpy as np
import safetensors.numpy
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from fv_ray.checkpoint import Count, Factor, explain
from fv_ray.errors import StorageError
from fv_ray.latents import latents_shape
from fv_ray.sidecar import Kind, Provenance, Sidecar, build_sidecar, record
from fv_ray.storage import storage_errors
from fv_ray.types import Preview, Value, VideoRequest
from fv_ray.video_io import encode_mp4, shrink, write_spritesheet, write_thumbnail

PREVIEW_FILE = "preview.safetensors"
HEADER_KEY = "fv_ray_preview"
LATENTS_KEY = "latents_FCHW"
THUMBNAIL_SIDE = 320


class _Header(Value):
    """What `preview.safetensors` says beside the latents."""

    format_version: Literal[1] = 1
    request: VideoRequest
    latents_scaling_factor: Factor
    checkpoint_digest: str
    fps: Count


def write_preview(folder: str | Path, preview: Preview, frames_FHWC: np.ndarray, provenance: Provenance) -> Sidecar:
    """Write a preview's latents and, from its decoded uint8 frames, what people look at.

    Raises:
        InputError: the frames cannot be encoded.
        StorageError: the latents are not the request's, or a file cannot be written; nothing of it is left.
    """
    file = Path(folder) / PREVIEW_FILE
    _check_latents(preview.latents_FCHW, preview.request, file)
    header = _Header(
        request=preview.request,
        latents_scaling_factor=preview.latents_scaling_factor,
        checkpoint_digest=preview.checkpoint_digest,
        fps=preview.fps,
    )
    with _staged(folder, "preview") as staging:
        tensors = {LATENTS_KEY: np.ascontiguousarray(preview.latents_FCHW)}
        with storage_errors(file):
            content = safetensors.numpy.save(tensors, {HEADER_KEY: header.model_dump_json()})
            (staging / PREVIEW_FILE).write_bytes(content)
        return _write_clip(staging, "preview", preview.request, [frames_FHWC], provenance, fps=preview.fps)


def read_preview(folder: str | Path) -> Preview:
    """Read back what `write_preview` wrote, bit for bit.

    Raises:
        StorageError: naming what is missing or wrong.
    """
    file = Path(folder) / PREVIEW_FILE
    if not file.is_file():
        missing = f"{file} is missing from it" if Path(folder).is_dir() else "there is no such folder"
        raise StorageError(f"{folder} is no preview: {missing}; give a folder that `fv-ray generate` wrote")
    try:
        with safe_open(file, framework="numpy") as content:
            header = (content.metadata() or {}).get(HEADER_KEY)
            if header is None or list(content.keys()) != [LATENTS_KEY]:
                raise StorageError(
                    f"{file} is not of fv-ray (it lacks {HEADER_KEY!r} or {LATENTS_KEY!r}); "
                    "give a folder that `fv-ray generate` wrote"
                )
            latents_FCHW = content.get_tensor(LATENTS_KEY)
        known = _Header.model_validate_json(header)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{file} cannot be read ({error}); it must be whole: generate the preview again") from error
    except ValidationError as error:
        raise StorageError(f"{file} is not understood: {explain(error)}; generate the preview again") from error
    _check_latents(latents_FCHW, known.request, file)
    return Preview(
        request=known.request,
        latents_FCHW=latents_FCHW,
        latents_scaling_factor=known.latents_scaling_factor,
        checkpoint_digest=known.checkpoint_digest,
        fps=known.fps,
    )


def write_video(
    folder: str | Path,
    request: VideoRequest,
    chunks: Iterable[np.ndarray],
    provenance: Provenance,
    *,
    fps: int,
    crf: int = 18,
    preset: str = "medium",
) -> Sidecar:
    """Write a video from uint8 chunks (F, H, W, 3) as they are decoded, never holding the whole clip.

    A folder that already holds a video keeps it until the new one is complete.

    Raises:
        InputError: the frames cannot be encoded.
        StorageError: a file cannot be written; nothing of it is left.
    """
    with _staged(folder, "video") as staging:
        return _write_clip(staging, "video", request, chunks, provenance, fps=fps, crf=crf, preset=preset)


def _write_clip(
    staging: Path,
    kind: Kind,
    request: VideoRequest,
    chunks: Iterable[np.ndarray],
    provenance: Provenance,
    *,
    fps: int,
    crf: int = 18,
    preset: str = "medium",
) -> Sidecar:
    small: list[np.ndarray] = []

    def watched() -> Iterator[np.ndarray]:
        for chunk in chunks:
            yield chunk
            small.extend(shrink(frame, THUMBNAIL_SIDE) for frame in chunk)  # while the chunk is being encoded

    start, seconds_before = perf_counter(), sum(provenance.phase_seconds.values())
    clip = encode_mp4(watched(), staging / f"{kind}.mp4", fps=fps, crf=crf, preset=preset)
    seconds_meanwhile = sum(provenance.phase_seconds.values()) - seconds_before
    mux_s = max(0.0, perf_counter() - start - seconds_meanwhile)
    write_thumbnail(small[len(small) // 2], staging / f"{kind}.webp", THUMBNAIL_SIDE)
    write_spritesheet(np.stack(small), staging / f"{kind}_sheet.webp")

    with storage_errors(staging):
        files = {file.name: record(file) for file in sorted(staging.iterdir())}
        provenance = replace(provenance, phase_seconds={**provenance.phase_seconds, "mux": mux_s})
        sidecar = build_sidecar(kind, request, provenance, clip, files)
        (staging / f"{kind}.json").write_text(sidecar.model_dump_json(indent=2) + "\n", "utf-8")
    return sidecar


@contextmanager
def _staged(folder: str | Path, kind: Kind) -> Iterator[Path]:
    """Give a temporary folder inside `folder`; its files move there when the block ends without an error."""
    folder, sidecar = Path(folder), f"{kind}.json"
    with storage_errors(folder):
        staging = TemporaryDirectory(prefix=f".{kind}.", dir=folder)
    with staging as name:
        yield Path(name)
        with storage_errors(folder):
            (folder / sidecar).unlink(missing_ok=True)  # an old one must not speak for new files
            for file in sorted(Path(name).iterdir(), key=lambda file: file.name == sidecar):
                os.replace(file, folder / file.name)


def _check_latents(latents_FCHW: np.ndarray, request: VideoRequest, file: Path) -> None:
    sampling = request.stage_one
    shape, channels = latents_FCHW.shape, latents_FCHW.shape[1] if latents_FCHW.ndim > 1 else 0
    expected = latents_shape(sampling.num_frames, channels, sampling.height, sampling.width)
    if latents_FCHW.dtype != np.float32 or shape != expected:
        raise StorageError(
            f"the latents of {file} are {latents_FCHW.dtype} of shape {shape}; its request allows float32 of shape "
            f"({expected[0]}, C, {expected[2]}, {expected[3]}): generate the preview again"
        )
    if not np.isfinite(latents_FCHW).all():
        raise StorageError(
            f"the latents of {file} hold NaN or infinity; allowed are finite numbers: generate the preview again"
        )
