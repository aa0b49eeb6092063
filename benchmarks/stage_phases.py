"""Every phase of both stages, run through the real classes on random latents, frames and prompt embeddings."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks import roofline
from benchmarks.random_stages import Stages, Subject, meta_stages
from benchmarks.timing import Timing, time_calls, time_evaluations
from fv_ray import pixels
from fv_ray.checkpoint import Preset
from fv_ray.errors import NumericalError
from fv_ray.models.transformer import StageOneTransformer3DModel
from fv_ray.noise import SeededNoise
from fv_ray.types import OnProgress

STAGE_ONE = "stage one"
PREVIEW_DECODE = "preview decode"
PREVIEW_UINT8 = "preview to uint8"
UPSAMPLE = "upsample"
ENCODE = "VAE encode"
STAGE_TWO = "stage two"
DECODE = "VAE decode"
DECODE_SLICED = "VAE decode, 2 slices"
VIDEO_UINT8 = "video to uint8"

FRAMES_PER_CHUNK = 8  # what a decoded chunk holds


def count_flops(subject: Subject) -> dict[str, int]:
    """Of one call, or one evaluation, of each phase that has any.

    Do it before an attention backend is set: diffusers makes that the default of every other transformer too.
    """
    stages = meta_stages(subject)
    return {
        STAGE_ONE: roofline.count_stage_one(subject, stages),
        PREVIEW_DECODE: roofline.count_preview_decode(subject, stages),
        ENCODE: roofline.count_encode(subject, stages),
        STAGE_TWO: roofline.count_stage_two(subject, stages),
        DECODE: roofline.count_video_decode(subject, stages, slices=1),
        DECODE_SLICED: roofline.count_video_decode(subject, stages, slices=2),
    }


@dataclass(frozen=True)
class Row:
    """A phase, run one way."""

    phase: str
    timing: Timing | None
    """None where it could not run."""
    flops: int
    """Of one call, or of one evaluation."""
    variant: str = ""
    """Attention backend and whether compiled; and why it could not run."""

    @property
    def seconds(self) -> float:
        """Of one call or evaluation; infinite where it could not run."""
        return math.inf if self.timing is None else self.timing.seconds


@dataclass(frozen=True)
class Bench:
    """What is measured, where and how often."""

    subject: Subject
    stages: Stages
    flops: dict[str, int]
    """From `count_flops`."""
    device: torch.device
    repeats: int
    backends: Sequence[str]
    compiles: Sequence[bool]

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Random values on the device."""
        return torch.randn(tuple(shape), device=self.device)

    def row(self, phase: str, work: Callable[[], object]) -> Row:
        """Time a phase that is one call."""
        flops = self.flops.get(phase, 0)
        try:
            return Row(phase, time_calls(work, repeats=self.repeats, device=self.device), flops)
        except torch.OutOfMemoryError:
            return Row(phase, None, flops, "out of memory")

    def transformer_rows(
        self,
        phase: str,
        transformer: StageOneTransformer3DModel,
        denoise: Callable[[int, OnProgress], object],
    ) -> Iterator[Row]:
        """Time a transformer with each attention backend, eager and then compiled; one that is missing says so."""
        flops = self.flops[phase]
        for compiled in self.compiles:
            if compiled:
                transformer.compile_repeated_blocks(fullgraph=True)
            for backend in self.backends:
                variant = f"{backend}, {'compiled' if compiled else 'eager'}"
                torch.compiler.reset()  # else it meets its limit of variants, and makes sizes variable that are not
                try:
                    transformer.set_attention_backend(backend)
                    timing = time_evaluations(denoise, repeats=self.repeats, device=self.device)
                except (ImportError, RuntimeError, ValueError, NumericalError) as error:
                    yield Row(phase, None, flops, f"{variant}: {_first_line(error)}")
                else:
                    yield Row(phase, timing, flops, variant)


def stage_one_rows(bench: Bench) -> Iterator[Row]:
    stage_one, sampling = bench.stages.stage_one, bench.subject.preset.stage_one
    embeds_BLD = bench.randn(roofline.embeds_shape(bench.subject))
    noise = SeededNoise(0)

    def denoise(num_inference_steps: int, on_progress: OnProgress) -> None:
        stage_one.denoise(
            embeds_BLD,
            latents_BFCHW=noise(roofline.preview_latents_shape(bench.subject)),
            noise=noise,
            num_inference_steps=num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            on_progress=on_progress,
        )

    yield from bench.transformer_rows(STAGE_ONE, stage_one.transformer, denoise)


def stage_two_rows(bench: Bench) -> Iterator[Row]:
    stage_two, sampling = bench.stages.stage_two, bench.subject.preset.stage_two
    embeds_BLD = bench.randn(roofline.embeds_shape(bench.subject))
    latents_BFCHW = bench.randn(roofline.video_latents_shape(bench.subject))

    def denoise(num_inference_steps: int, on_progress: OnProgress) -> None:
        stage_two.denoise(
            latents_BFCHW,
            embeds_BLD,
            noise=SeededNoise(0),
            num_inference_steps=num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            shift=sampling.shift,
            noise_level=sampling.noise_level,
            grid_dtype=getattr(torch, sampling.grid_dtype),
            on_progress=on_progress,
        )

    yield from bench.transformer_rows(STAGE_TWO, stage_two.transformer, denoise)


def vae_rows(bench: Bench) -> Iterator[Row]:
    subject, preset = bench.subject, bench.subject.preset
    stage_one, stage_two = bench.stages.stage_one, bench.stages.stage_two
    height, width = preset.stage_two.height, preset.stage_two.width

    latents_BFCHW = bench.randn(roofline.preview_latents_shape(subject))
    frames_BCFHW = stage_one.decode(latents_BFCHW)
    yield bench.row(PREVIEW_DECODE, lambda: stage_one.decode(latents_BFCHW))
    yield bench.row(PREVIEW_UINT8, lambda: _to_uint8(frames_BCFHW))
    yield bench.row(UPSAMPLE, lambda: stage_two.resize(frames_BCFHW, height, width))

    frames_BCFHW = stage_two.resize(frames_BCFHW, height, width)
    yield bench.row(ENCODE, lambda: stage_two.encode(frames_BCFHW, noise=SeededNoise(0)))

    video_latents_BFCHW = bench.randn(roofline.video_latents_shape(subject))
    for slices, phase in ((1, DECODE), (2, DECODE_SLICED)):
        yield bench.row(phase, partial(stage_two.decode, video_latents_BFCHW, slices=slices))
    frames_BCFHW = frames_BCFHW.to(stage_two.vae.dtype)
    yield bench.row(VIDEO_UINT8, lambda: _to_uint8(frames_BCFHW))


def measure(bench: Bench, parts: Sequence[str]) -> list[Row]:
    """All rows of the parts, in the order of the data; each is told on stderr as soon as it is known."""
    made_by = {"stage_one": stage_one_rows, "vae": vae_rows, "stage_two": stage_two_rows}
    rows = []
    for part, rows_of in made_by.items():
        for row in rows_of(bench) if part in parts else ():
            print(f"{row.phase} {row.variant}: {row.seconds:.4g} s", file=sys.stderr, flush=True)
            rows.append(row)
    order = (STAGE_ONE, PREVIEW_DECODE, PREVIEW_UINT8, UPSAMPLE, ENCODE, STAGE_TWO, DECODE, DECODE_SLICED, VIDEO_UINT8)
    return sorted(rows, key=lambda row: order.index(row.phase))


def preview_phases(preset: Preset) -> dict[str, int]:
    """How often each phase runs for a preview that is shown."""
    return {STAGE_ONE: preset.stage_one.num_inference_steps, PREVIEW_DECODE: 1, PREVIEW_UINT8: 1}


def video_phases(preset: Preset) -> dict[str, int]:
    """How often each phase runs for a video made in one go."""
    return {
        STAGE_ONE: preset.stage_one.num_inference_steps,
        PREVIEW_DECODE: 1,
        UPSAMPLE: 1,
        ENCODE: 1,
        STAGE_TWO: preset.stage_two.num_inference_steps,
        DECODE if preset.stage_two.decode_slices == 1 else DECODE_SLICED: 1,
        VIDEO_UINT8: 1,
    }


def _to_uint8(frames_BCFHW: Tensor) -> None:
    for start in range(0, frames_BCFHW.shape[2], FRAMES_PER_CHUNK):
        pixels.to_uint8(frames_BCFHW[0, :, start : start + FRAMES_PER_CHUNK])


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0].replace("|", "/")
    return f"not available ({type(error).__name__}: {text[:120]})"
