"""How a preview or a video was made, as the JSON file beside it says."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from fv_ray import __version__
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.types import OnProgress, Progress, Value, VideoRequest
from fv_ray.video_io import VideoFileInfo

Kind = Literal["preview", "video"]


class FileRecord(Value):
    """One file of a result."""

    sha256: str
    size_bytes: int


class LoraRecord(Value):
    """A LoRA file and its weight."""

    file: str
    sha256: str
    scale: float


class Sidecar(Value):
    """How a preview or a video was made: enough to make it again, and to see that its files are whole."""

    format_version: Literal[1] = 1
    kind: Kind
    prompt: str
    request: VideoRequest
    stage_two_seed: int
    """The seed that stage two uses, given or derived."""
    checkpoint_name: str
    checkpoint_digest: str
    versions: dict[str, str]
    loras: list[LoraRecord]
    """Over stage one's transformer, beside the checkpoint's own weights."""
    device: str
    dtype: str
    """Of the transformer."""
    vae_dtype: str
    attention_backend: str
    """diffusers' name of the attention kernel."""
    crf: int
    x264_preset: str
    phase_seconds: dict[str, float]
    """By phase. "mux" is what encoding the mp4 took beyond the phases that ended meanwhile."""
    num_function_evaluations: int
    """Of the transformers; a guidance pair counts as one."""
    num_prompt_tokens_cut: int
    num_frames: int
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: int
    duration_s: float
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Provenance:
    """What the caller knows of how a result is made."""

    checkpoint: CheckpointInfo
    device: str
    dtype: str
    vae_dtype: str
    num_function_evaluations: int
    num_prompt_tokens_cut: int
    phase_seconds: Mapping[str, float]
    """Read after the last frame: `PhaseSeconds.seconds`, which is live, includes the phases of streamed chunks."""
    attention_backend: str = "native"
    loras: Mapping[Path, float] = field(default_factory=dict)


class PhaseSeconds:
    """An `OnProgress` that keeps the seconds of finished phases and forwards each event.

    `seconds` is a live view, in the order in which the phases first ended; a phase that ran twice counts both times.
    """

    def __init__(self, forward: OnProgress | None = None) -> None:
        self._forward = forward
        self._seconds: dict[str, float] = {}
        self.seconds = MappingProxyType(self._seconds)

    def __call__(self, progress: Progress) -> None:
        """Take one event."""
        if progress.is_done:
            self._seconds[progress.phase] = self._seconds.get(progress.phase, 0.0) + progress.seconds
        if self._forward is not None:
            self._forward(progress)


def build_sidecar(
    kind: Kind, request: VideoRequest, provenance: Provenance, clip: VideoFileInfo, files: Mapping[str, FileRecord]
) -> Sidecar:
    """A sidecar of what is known, with the versions of this process."""
    return Sidecar(
        kind=kind,
        prompt=request.prompt,
        request=request,
        stage_two_seed=request.stage_two_seed,
        checkpoint_name=provenance.checkpoint.name,
        checkpoint_digest=provenance.checkpoint.digest,
        versions={
            "fv_ray": __version__,
            **{library: version(library) for library in ("torch", "diffusers", "transformers", "av")},
            "python": platform.python_version(),
        },
        loras=[
            LoraRecord(file=file.name, sha256=record(file).sha256, scale=scale)
            for file, scale in provenance.loras.items()
        ],
        device=provenance.device,
        dtype=provenance.dtype,
        vae_dtype=provenance.vae_dtype,
        attention_backend=provenance.attention_backend,
        crf=clip.crf,
        x264_preset=clip.preset,
        phase_seconds=dict(provenance.phase_seconds),
        num_function_evaluations=provenance.num_function_evaluations,
        num_prompt_tokens_cut=provenance.num_prompt_tokens_cut,
        num_frames=clip.num_frames,
        height=clip.height,
        width=clip.width,
        fps=clip.fps,
        duration_s=clip.num_frames / clip.fps,
        files=dict(files),
    )


def record(file: Path) -> FileRecord:
    """A file's digest and size."""
    with file.open("rb") as content:
        return FileRecord(sha256=hashlib.file_digest(content, "sha256").hexdigest(), size_bytes=file.stat().st_size)
