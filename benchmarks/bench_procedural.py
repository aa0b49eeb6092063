"""Times the drawing and judging of procedural clips, and counts how often the judge is right about worn ones.

    python -m benchmarks.bench_procedural --clips 1000

The judge's figures on drawn clips are the ceiling of what it can say of generated ones.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch
from scipy import ndimage

from benchmarks import report
from fv_ray.training.procedural.judge import judge
from fv_ray.training.procedural.render import render_clip
from fv_ray.training.procedural.scene import ATTRIBUTES, draw_scene
from fv_ray.video_io import encode_mp4, read_frames

WEAR = ("none", "noise", "soft", "soft and noise", "mp4")
HEAD = ("frames, size", "drawn a second", "judged a second", *ATTRIBUTES, "least clearness")


@dataclass(frozen=True)
class Size:
    """Of a clip, and of the preview that belongs to it."""

    num_frames: int
    height: int
    width: int
    preview_height: int


SIZES = (Size(9, 32, 48, 32), Size(9, 128, 192, 32), Size(17, 64, 96, 64), Size(17, 256, 384, 64))


def worn(clip: np.ndarray, seed: int) -> np.ndarray:
    """What happens to clips, one kind after the other: nothing, noise, a blur of 0.7 pixels, both, x264 at crf 28."""
    kind = WEAR[seed % len(WEAR)]
    if kind == "mp4":
        return _through_mp4(clip)
    frames = clip.astype(np.float32)
    if "soft" in kind:
        frames = ndimage.gaussian_filter(frames, (0, 0.7, 0.7, 0), truncate=3)
    if "noise" in kind:
        frames += 8 * np.random.default_rng(seed).standard_normal(frames.shape, dtype=np.float32)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def measure(size: Size, num_clips: int) -> list[str]:
    """One row of the table; every second scene is held out."""
    drawing = judging = 0.0
    right = dict.fromkeys(ATTRIBUTES, 0)
    clearness = 1.0
    for seed in range(num_clips):
        scene = draw_scene(seed, "held_out" if seed % 2 else "train")
        start = process_time()
        clip = render_clip(scene, size.num_frames, size.height, size.width, preview_height=size.preview_height)
        drawing += process_time() - start
        frames = worn(clip, seed)
        start = process_time()
        verdict = judge(frames)
        judging += process_time() - start
        clearness = min(clearness, verdict.clearness)
        for name, is_right in verdict.agrees(scene.attributes).items():
            right[name] += is_right
    shares = [f"{100 * right[name] / num_clips:.1f} %" for name in ATTRIBUTES]
    name = f"{size.num_frames}, {size.height}x{size.width}"
    return [name, f"{num_clips / drawing:.0f}", f"{num_clips / judging:.0f}", *shares, f"{clearness:.2f}"]


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    render_clip(draw_scene(0), 2, 32, 48)  # warms up
    sizes = SIZES[:2] if options.small else SIZES
    result = "\n".join(
        (
            report.table(HEAD, [measure(size, options.clips) for size in sizes]),
            "",
            f"- {options.clips} clips of each size, half of them held out; each is worn in one of {len(WEAR)} ways: "
            f"{', '.join(WEAR)}",
            "- seconds are CPU seconds of one thread",
            "- at a preview's size there is no texture to be seen: 25 % is chance",
        )
    )
    report.publish(result, options.output, "The procedural world", "benchmarks.bench_procedural", arguments)


def _through_mp4(clip: np.ndarray) -> np.ndarray:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        encode_mp4([clip], path, fps=8, crf=28, preset="ultrafast")
        return read_frames(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_procedural", description="Procedural clips.")
    parser.add_argument("--clips", type=int, default=300, help="of each size")
    parser.add_argument("--small", action="store_true", help="9 frames alone")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
