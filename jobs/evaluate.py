"""A checkpoint to a report of what its clips show: prompts, both stages on Ray Data, judge and figures.

    OUTPUT/report.json    all figures
           report.md      the same for people
           prompts.csv    one row a prompt
           shares.png     the judge's shares; not of a table's prompts
           sheet.png      first, middle and last frame of some previews and their videos

The folder appears whole or not at all.
"""

import csv
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fv_ray import cli_options
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.cli_options import Checkpoint, Dtype, NoiseLevel, RefineGuidance, RefineSize, RefineSteps, Shift
from fv_ray.storage import new_directory, require_new
from fv_ray.training.procedural.scene import Split
from jobs.evaluation.choose_prompts import Prompt, table_prompts, world_prompts
from jobs.evaluation.draw_report import draw_shares, draw_sheet
from jobs.evaluation.make_clips import Clips, Making, WorkerDevice, check, make_clips
from jobs.evaluation.score_clips import FIGURES, KINDS, Score, Share, means, shares, table_row
from jobs.run_command import run_command

NUM_PROMPTS = 200

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    output: Annotated[Path, typer.Option(help="A new folder.")],
    checkpoint: Checkpoint,
    prompts: Annotated[str | None, typer.Option(help="Table with a column `prompt`, instead of the world's.")] = None,
    num_prompts: Annotated[int | None, typer.Option(help="Default: 200, or the whole table.")] = None,
    split: Annotated[Split, typer.Option(help="Of the procedural world.")] = "held_out",
    seed: Annotated[int, typer.Option(min=0, help="The n-th further prompt has seed + n.")] = 0,
    preset: Annotated[str | None, typer.Option(help="One of the checkpoint's. Default: as it says.")] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations of stage one's transformer.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Scale of stage one's dynamic guidance; 0 is none.")] = None,
    num_frames: Annotated[int | None, typer.Option(help="Frames of the clip, 1 + 4k.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the preview, multiples of 16.")] = None,
    refine_steps: RefineSteps = None,
    refine_guidance: RefineGuidance = None,
    refine_size: RefineSize = None,
    shift: Shift = None,
    noise_level: NoiseLevel = None,
    num_pictures: Annotated[int, typer.Option(min=1, help="Prompts on the contact sheet.")] = 8,
    batch_size: Annotated[int, typer.Option(min=1, help="Previews that stage one makes at once.")] = 8,
    num_workers: Annotated[int | None, typer.Option(min=1, help="Default: the cluster's CPUs, or GPUs.")] = None,
    device: WorkerDevice = "cpu",
    dtype: Dtype = None,
) -> None:
    """Make clips of prompts and report what they show."""
    require_new(output)
    making = Making(
        checkpoint=str(checkpoint),
        preset=preset,
        stage_one=cli_options.given(
            num_inference_steps=steps, guidance_scale=guidance, num_frames=num_frames, **cli_options.size_changes(size)
        ),
        stage_two=cli_options.stage_two_changes(refine_steps, refine_guidance, refine_size, shift, noise_level, None),
        device=device,
        dtype=dtype,
    )
    chosen = _chosen(prompts, num_prompts, split, seed)
    info = check(making, chosen)
    clips = make_clips(
        making,
        chosen,
        batch_size=batch_size,
        num_workers=num_workers,
        tell=lambda done: typer.echo(f"{done} prompts", err=True),
        num_pictures=num_pictures,
    )
    report = build_report(info, making, chosen[0], [each.score for each in clips])
    with new_directory(output) as folder:
        _write(folder, report, clips)
    typer.echo(str(output / "report.md"))


def build_report(info: CheckpointInfo, making: Making, first: Prompt, scores: Sequence[Score]) -> dict[str, Any]:
    """All figures, as JSON has them."""
    judged = {kind: shares(scores, kind) for kind in KINDS} if first.split else {}
    return {
        "checkpoint": {"name": info.name, "digest": info.digest},
        "num_prompts": len(scores),
        "num_prompts_cut": sum(each.num_tokens_cut > 0 for each in scores),
        "split": first.split,
        "first_seed": first.seed,
        "request": making.request(info, first).model_dump(exclude={"prompt", "seed"}),
        "shares": {
            kind: {
                name: {"num_right": share.num_right, "num_asked": share.num_asked} for name, share in of_kind.items()
            }
            for kind, of_kind in judged.items()
        },
        "means": {name: value if math.isfinite(value) else None for name, value in means(scores).items()},
    }


def main() -> None:
    """Run the job."""
    run_command(app)


def _chosen(table: str | None, num_prompts: int | None, split: Split, seed: int) -> list[Prompt]:
    if table is not None:
        return table_prompts(table, num_prompts, seed)
    return world_prompts(NUM_PROMPTS if num_prompts is None else num_prompts, split, seed)


def _write(folder: Path, report: Mapping[str, Any], clips: Sequence[Clips]) -> None:
    rows = [table_row(each.score) for each in clips]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "prompts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    judged = {kind: {name: Share(**counts) for name, counts in of.items()} for kind, of in report["shares"].items()}
    if judged:
        draw_shares(folder / "shares.png", judged, {})
    draw_sheet(folder / "sheet.png", clips)
    (folder / "report.md").write_text(_markdown(report, judged), "utf-8")
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def _markdown(report: Mapping[str, Any], judged: Mapping[str, Mapping[str, Share]]) -> str:
    checkpoint, split = report["checkpoint"], report["split"]
    lines = [
        f"# Evaluation of {checkpoint['name']}",
        "",
        f"- checkpoint: `{checkpoint['digest']}`",
        f"- prompts: {report['num_prompts']}, {f'split {split}' if split else 'of a table'}, "
        f"seeds from {report['first_seed']}; {report['num_prompts_cut']} longer than the text encoder reads",
        f"- command: `{command('jobs.evaluate')}`",
        "",
    ]
    if judged:
        lines += ["| the judge says what the prompt says | preview | video |", "| :-- | --: | --: |"]
        lines += [f"| {name} | {judged['preview'][name]} | {judged['video'][name]} |" for name in judged["video"]]
        lines += ["", "![the judge's shares](shares.png)", ""]
    lines += ["| without a reference | mean |", "| :-- | --: |"]
    lines += [f"| {FIGURES[name]} | {_told(value)} |" for name, value in report["means"].items()]
    lines += ["", "![frames of previews and videos](sheet.png)", ""]
    return "\n".join(lines)


def _told(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.3f}"


def command(module: str) -> str:
    """The command that runs, as a person writes it."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


if __name__ == "__main__":
    main()
