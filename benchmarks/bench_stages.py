"""Times every phase of both stages and compares it with what the hardware could do.

    python -m benchmarks.bench_stages --size tiny
    python -m benchmarks.bench_stages --size released --attention-backends native,_native_cudnn --compile

Not measured: the text encoder (2 of 8,500 TFLOP), loading, and the mp4, whose encoding overlaps the decoding and
depends on what the pictures show.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import report, roofline
from benchmarks.random_stages import PARTS, SIZES, Subject, folder_subject, load_stages
from benchmarks.stage_phases import STAGE_ONE, STAGE_TWO, Bench, Row, count_flops, measure, preview_phases, video_phases
from benchmarks.timing import peak_resident_bytes
from fv_ray.checkpoint import Preset

HEAD = (
    "phase",
    "evaluations",
    "seconds each",
    "seconds",
    "share of the video",
    "TFLOP each",
    "TFLOP/s",
    "ratio to roofline",
    "peak memory",
)
NONE = "–"


def fastest(rows: Sequence[Row]) -> dict[str, Row]:
    """Of each phase the way that took least time; phases that could not run at all are missing."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.timing is not None and (row.phase not in best or row.seconds < best[row.phase].seconds):
            best[row.phase] = row
    return best


def total_seconds(phases: dict[str, int], best: dict[str, Row]) -> float | None:
    """None where a phase was not measured."""
    if not phases.keys() <= best.keys():
        return None
    return sum(count * best[phase].seconds for phase, count in phases.items())


def stages_table(rows: Sequence[Row], preset: Preset, ceiling: float) -> str:
    """One line for each row; a share stands where the row is part of the sum for the whole video."""
    best, phases = fastest(rows), video_phases(preset)
    total = total_seconds(phases, best)
    lines = []
    for row in rows:
        count = phases.get(row.phase, 1)
        name = f"{row.phase}, {row.variant}" if row.variant else row.phase
        if row.timing is None:
            lines.append([name] + [NONE] * (len(HEAD) - 1))
            continue
        seconds, flops = row.timing.seconds, row.flops
        shares = total is not None and row.phase in phases and row is best[row.phase]
        share = f"{count * seconds / total:.4f}" if shares and total else NONE
        speeds = [f"{flops / 1e12:.4g}", f"{flops / seconds / 1e12:.4g}", f"{flops / ceiling / seconds:.3f}"]
        peak = NONE if row.timing.peak_bytes is None else f"{row.timing.peak_bytes / 1e9:.2f} GB"
        lines.append(
            [name, str(count), f"{seconds:.4g}", f"{count * seconds:.4g}", share]
            + (speeds if flops else [NONE] * 3)
            + [peak]
        )
    return report.table(HEAD, lines)


def summary(rows: Sequence[Row], subject: Subject, ceiling: float, device: torch.device) -> str:
    """End-to-end seconds of each preset, and what the table's columns rest on."""
    best = fastest(rows)
    lines = []
    for name, preset in subject.checkpoint.presets.items():
        one, two = preset.stage_one.num_inference_steps, preset.stage_two.num_inference_steps
        preview, video = total_seconds(preview_phases(preset), best), total_seconds(video_phases(preset), best)
        if _clip(preset) == _clip(subject.preset) and preview is not None and video is not None:
            lines.append(f"- preview, preset {name}, {one} evaluations: {preview:.4g} s")
            lines.append(f"- video, preset {name}, {one} + {two} evaluations: {video:.4g} s, its preview included")
    for phase in (STAGE_ONE, STAGE_TWO):
        if phase in best:
            lines.append(f"- the sums and shares take {phase} with {best[phase].variant}")
    lines.append(f"- matmul ceiling, measured in this run: {ceiling / 1e12:.4g} TFLOP/s")
    if device.type == "cuda":
        lines.append("- peak memory is what torch allocated, the weights of all measured parts included")
    else:
        lines.append(
            f"- peak memory of the whole process: {peak_resident_bytes() / 1e9:.2f} GB; phases are not told apart"
        )
    lines.append("- not in the sums: text encoder, loading, mp4")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype or _default_dtype(options.device))
    subject = folder_subject(options.checkpoint) if options.checkpoint else SIZES[options.size]()
    flops = count_flops(subject)
    stages = load_stages(subject, device, dtype, options.only)
    compiles = (False, True) if options.compile else (False,)
    bench = Bench(subject, stages, flops, device, options.evaluations, options.attention_backends, compiles)

    ceiling = roofline.measure_matmul_ceiling(device, dtype)
    rows = measure(bench, options.only)
    result = f"{stages_table(rows, subject.preset, ceiling)}\n\n{summary(rows, subject, ceiling, device)}"
    title = f"Both stages, {subject.checkpoint.name}"
    report.publish(result, options.output, title, "benchmarks.bench_stages", arguments, device, dtype)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_stages", description="Time both stages.")
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--size", choices=SIZES, help="random weights of this size")
    subject.add_argument("--checkpoint", type=Path, help="a folder that `fv-ray convert` wrote")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help="bfloat16 on cuda and float32 on the CPU")
    parser.add_argument("--attention-backends", type=_names, default=["native"], help="diffusers' names, with commas")
    parser.add_argument("--compile", action="store_true", help="each transformer compiled too")
    parser.add_argument("--evaluations", type=_positive, default=3, help="repetitions; one more warms up")
    parser.add_argument("--only", type=_parts, default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


def _default_dtype(device: str) -> str:
    return "bfloat16" if device == "cuda" else "float32"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _parts(text: str) -> list[str]:
    if unknown := set(parts := _names(text)) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return parts


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _clip(preset: Preset) -> tuple[int, ...]:
    one, two = preset.stage_one, preset.stage_two
    return one.num_frames, one.height, one.width, two.height, two.width


if __name__ == "__main__":
    main(sys.argv[1:])
