"""Runs a stage and writes its result folder: `VideoRequest -> FOLDER/preview.*`, `Preview -> FOLDER/video.*`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fv_ray.preview_folder import write_preview, write_video
from fv_ray.sidecar import PhaseSeconds, Provenance
from fv_ray.storage import new_directory
from fv_ray.types import OnProgress, Preview, VideoRequest
from fv_ray.video_io import Encoding

if TYPE_CHECKING:
    from fv_ray.stage_one import StageOne
    from fv_ray.stage_two import StageTwo


def make_preview(
    stage_one: StageOne,
    request: VideoRequest,
    folder: Path,
    *,
    loras: Mapping[Path, float] | None = None,
    attention_backend: str = "native",
    on_progress: OnProgress | None = None,
) -> Preview:
    """Generate a preview and write it to a new `folder`, which appears when it is complete.

    `loras` and `attention_backend` are what the stage was given before; the sidecar tells them.

    Raises:
        InputError: the checkpoint cannot make what is asked for.
        NumericalError: the model gave numbers that are not finite.
        StorageError: `folder` is taken or cannot be written.
    """
    phases = PhaseSeconds(on_progress)
    preview = stage_one.generate(request, on_progress=phases)
    frames = stage_one.preview_frames(preview, on_progress=phases)
    prompt, steps = request.stage_one.prompt_prefix + request.prompt, request.stage_one.num_inference_steps
    with new_directory(folder) as staged:
        write_preview(
            staged, preview, frames, _provenance(stage_one, prompt, steps, phases, attention_backend, loras or {})
        )
    return preview


def make_video(
    stage_two: StageTwo,
    request: VideoRequest,
    preview: Preview,
    folder: Path,
    encoding: Encoding,
    *,
    attention_backend: str = "native",
    on_progress: OnProgress | None = None,
) -> None:
    """Refine a preview and write the video into `folder`, encoding a chunk while the next is decoded.

    Raises:
        InputError: the checkpoint cannot make what is asked for, or the preview is not of this request.
        NumericalError: the model gave numbers that are not finite.
        StorageError: a file cannot be written; nothing of the video is left.
    """
    phases = PhaseSeconds(on_progress)
    chunks = stage_two.refine_chunks(request, preview, on_progress=phases)
    prompt, steps = request.stage_two.prompt_prefix + request.prompt, request.stage_two.num_inference_steps
    provenance = _provenance(stage_two, prompt, steps, phases, attention_backend, {})
    write_video(folder, request, chunks, provenance, fps=preview.fps, crf=encoding.crf, preset=encoding.preset)


def _provenance(
    stage: StageOne | StageTwo,
    prompt: str,
    num_function_evaluations: int,
    phases: PhaseSeconds,
    attention_backend: str,
    loras: Mapping[Path, float],
) -> Provenance:
    return Provenance(
        checkpoint=stage.checkpoint,
        device=str(stage.device),
        dtype=str(stage.transformer.dtype).removeprefix("torch."),
        vae_dtype=str(stage.vae.dtype).removeprefix("torch."),
        num_function_evaluations=num_function_evaluations,
        num_prompt_tokens_cut=0 if stage.text_encoder is None else stage.text_encoder.num_tokens_cut(prompt),
        phase_seconds=phases.seconds,
        attention_backend=attention_backend,
        loras=loras,
    )
