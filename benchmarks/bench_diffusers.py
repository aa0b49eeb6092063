"""Times fv-ray's two stages against the plain diffusers calls that they replace: same weights, same numbers drawn.

    python -m benchmarks.bench_diffusers

On the CPU, in float32, on one thread. Each part is run by both in turn, so that a busy machine slows both alike.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from benchmarks import report, roofline
from benchmarks.plain_diffusers import PlainDiffusers
from benchmarks.random_stages import Stages, Subject, load_stages, random_subject
from benchmarks.random_stages import tiny as tiny_subject
from fv_ray.noise import SeededNoise
from fv_ray.presets import SMALL_SIZE

HEAD = ("part", "diffusers s", "fv-ray s", "ratio")
WHOLE = "whole pipeline"
CPU = torch.device("cpu")

Step = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Part:
    """The same work, done twice; each takes what the part before it gave on its own side."""

    name: str
    diffusers: Step
    fv_ray: Step


def compared() -> Subject:
    """Larger than Python's own time, small enough for a minute."""
    width = {"num_attention_heads": 4, "attention_head_dim": 32, "num_layers": 4}
    vae = {"block_out_channels": (32, 64, 64, 32), "layers_per_block": 1, "norm_num_groups": 8}
    return random_subject("compared", SMALL_SIZE, width, width, vae, text=(32, 64), time_embed_dim=64)


def make_parts(subject: Subject, stages: Stages, num_steps: tuple[int, int]) -> list[Part]:
    """The pipeline in the order of the data."""
    plain, one, two = PlainDiffusers(stages), stages.stage_one, stages.stage_two
    sampling_one = subject.preset.stage_one.model_copy(update={"num_inference_steps": num_steps[0]})
    sampling_two = subject.preset.stage_two.model_copy(update={"num_inference_steps": num_steps[1]})
    embeds_BLD = SeededNoise(1)(roofline.embeds_shape(subject))
    start_BFCHW = SeededNoise(2)(roofline.preview_latents_shape(subject))
    size = sampling_two.height, sampling_two.width
    scaling_one, scaling_two = one.checkpoint.stage_one_scaling_factor, two.checkpoint.stage_two_scaling_factor

    def denoise(_: object) -> Tensor:
        return one.denoise(
            embeds_BLD,
            latents_BFCHW=start_BFCHW,
            noise=SeededNoise(3),
            num_inference_steps=sampling_one.num_inference_steps,
            guidance_scale=sampling_one.guidance_scale,
        )

    def refine(latents_BFCHW: Tensor) -> Tensor:
        return two.denoise(
            latents_BFCHW,
            embeds_BLD,
            noise=SeededNoise(5),
            num_inference_steps=sampling_two.num_inference_steps,
            guidance_scale=sampling_two.guidance_scale,
            shift=sampling_two.shift,
            noise_level=sampling_two.noise_level,
        )

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(4)

    return [
        Part("stage one", lambda _: plain.denoise(embeds_BLD, start_BFCHW, SeededNoise(3), sampling_one), denoise),
        Part("preview decode", lambda x: plain.decode(x, scaling_one), one.decode),
        Part("upsample", lambda x: plain.resize(x, *size), lambda x: two.resize(x, *size)),
        Part("VAE encode", lambda x: plain.encode(x, seeded()), lambda x: two.encode(x, noise=SeededNoise(4))),
        Part("stage two", lambda x: plain.refine(x, embeds_BLD, SeededNoise(5), sampling_two), refine),
        Part("VAE decode", lambda x: plain.decode(x, scaling_two), two.decode),
    ]


def run(parts: Sequence[Part], *, ours_first: bool) -> tuple[list[tuple[float, float]], tuple[Tensor, Tensor]]:
    """Seconds of each part, diffusers' and ours, and both results."""
    seconds = []
    theirs: Any = None
    ours: Any = None
    for part in parts:
        if ours_first:
            ours, ours_s = _timed(part.fv_ray, ours)
            theirs, theirs_s = _timed(part.diffusers, theirs)
        else:
            theirs, theirs_s = _timed(part.diffusers, theirs)
            ours, ours_s = _timed(part.fv_ray, ours)
        seconds.append((theirs_s, ours_s))
    return seconds, (theirs, ours)


def comparison(names: Sequence[str], runs: Sequence[Sequence[tuple[float, float]]]) -> str:
    """Medians over the runs and their ratio; the last row is the median of the sums."""
    totals = [tuple(map(sum, zip(*seconds, strict=True))) for seconds in runs]
    columns = [*zip(*runs, strict=True), totals]
    rows = []
    for name, pairs in zip([*names, WHOLE], columns, strict=True):
        theirs_s, ours_s = (statistics.median(values) for values in zip(*pairs, strict=True))
        rows.append([name, f"{theirs_s:.4g}", f"{ours_s:.4g}", f"{theirs_s / ours_s:.2f}"])
    return report.table(HEAD, rows)


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    subject = tiny_subject() if options.size == "tiny" else compared()
    stages = load_stages(subject, CPU, torch.float32)
    parts = make_parts(subject, stages, (options.stage_one_steps, options.stage_two_steps))

    _, (theirs, ours) = run(parts, ours_first=False)  # warms up
    error = float((ours - theirs).norm() / theirs.norm())
    runs = [run(parts, ours_first=bool(repeat % 2))[0] for repeat in range(options.repeats)]

    steps = f"{options.stage_one_steps} + {options.stage_two_steps} evaluations"
    result = "\n".join(
        (
            comparison([part.name for part in parts], runs),
            "",
            f"- {steps}, medians of {options.repeats} runs; a ratio above 1 says that fv-ray is faster",
            f"- relative difference of the frames: {error:.1e}",
        )
    )
    report.publish(result, options.output, "fv-ray and plain diffusers", "benchmarks.bench_diffusers", arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_diffusers", description="Against diffusers.")
    parser.add_argument("--size", choices=("tiny", "compared"), default="compared")
    parser.add_argument("--stage-one-steps", type=int, default=10)
    parser.add_argument("--stage-two-steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7, help="one more warms up")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


def _timed(step: Step, value: Any) -> tuple[Tensor, float]:
    start = perf_counter()
    result = step(value)
    return result, perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:])
