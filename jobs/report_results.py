"""A checkpoint to the page of its results: what its videos show, what stage two adds, what each parameter does, cost.

    PAGE.md                        all figures, with the command that made them
    images/results_*.png           beside it

Both are replaced where they are there. Clips are made by Ray Data; the cost is measured in this process, on the CPU.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.cli_options import Checkpoint, Dtype
from fv_ray.stage_one import StageOne
from fv_ray.storage import storage_errors
from jobs.connect_ray import connected
from jobs.evaluate import command
from jobs.evaluation import measure_cost
from jobs.evaluation.choose_prompts import Prompt, world_prompts
from jobs.evaluation.make_clips import Making, WorkerDevice, check, make_clips
from jobs.evaluation.score_clips import Score
from jobs.evaluation.sweep_stages import STUDIES, Record, sweep
from jobs.evaluation.write_results import Results, write_results
from jobs.read_pairs import read_pairs
from jobs.run_command import run_command

IMAGES = "images"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def report_results(
    checkpoint: Checkpoint,
    output: Annotated[Path, typer.Option(help="The page.")] = Path("docs/results.md"),
    num_prompts: Annotated[int, typer.Option(help="Held-out prompts for the judge.")] = 200,
    num_sweep_prompts: Annotated[int, typer.Option(help="The first of these, for all that is swept.")] = 24,
    num_cost_videos: Annotated[int, typer.Option(min=1, help="Videos that are timed.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The n-th further prompt has seed + n.")] = 0,
    preset: Annotated[str | None, typer.Option(help="One of the checkpoint's. Default: as it says.")] = None,
    ablation: Annotated[
        list[str] | None, typer.Option(help="NAME=CHECKPOINT trained with other degradations; repeatable.")
    ] = None,
    from_noise_checkpoint: Annotated[
        str | None, typer.Option(help="One whose stage two starts from noise, as its default preset says.")
    ] = None,
    single_stage_checkpoint: Annotated[
        str | None, typer.Option(help="One whose stage one makes clips of stage two's size.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts that a worker takes at once.")] = 8,
    num_workers: Annotated[int | None, typer.Option(min=1, help="Default: the cluster's CPUs, or GPUs.")] = None,
    device: WorkerDevice = "cpu",
    dtype: Dtype = None,
) -> None:
    """Measure a checkpoint and write the page of its results."""
    making = Making(checkpoint=str(checkpoint), preset=preset, device=device, dtype=dtype)
    prompts = world_prompts(num_prompts, "held_out", seed)
    few = world_prompts(num_sweep_prompts, "held_out", seed)
    info = check(making, prompts)
    others = {
        name: replace(making, checkpoint=folder) for name, folder in read_pairs("--ablation", ablation or ()).items()
    }
    digests = {name: check(other, prompts).digest for name, other in others.items()}
    from_noise = None if from_noise_checkpoint is None else Making(from_noise_checkpoint, device=device, dtype=dtype)
    if from_noise is not None:
        check(from_noise, few)
    single_stage = None if single_stage_checkpoint is None else _single_stage(making, info, single_stage_checkpoint)

    workers: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers}

    def scores_of(what: str, of: Making) -> list[Score]:
        return [each.score for each in make_clips(of, prompts, **workers, tell=partial(_tell, f"{what}, prompts"))]

    def records_of(what: str, of: Making, studies: Sequence[str]) -> list[Record]:
        return sweep(of, studies, few, **workers, tell=partial(_tell, f"{what}, parts"))

    with connected():
        scores = scores_of("judge", making)
        records = records_of("sweeps", making, list(STUDIES))
        straightness = records_of("from noise", from_noise, ["straightness"]) if from_noise else []
        ablations = {name: (digests[name], scores_of(name, other)) for name, other in others.items()}
    results = Results(
        command=command("jobs.report_results"),
        name=info.name,
        digest=info.digest,
        sizes=_sizes(making, info, prompts[0]),
        scores=scores,
        num_sweep_prompts=len(few),
        records=records,
        straightness_from_noise=straightness,
        ablations=ablations,
        num_cost_videos=num_cost_videos,
        **_costs(making, single_stage, world_prompts(num_cost_videos, "held_out", seed)),
    )
    _write(results, output)
    typer.echo(str(output))


def main() -> None:
    """Run the job."""
    run_command(app)


def _tell(what: str, done: str) -> None:
    typer.echo(f"{what}: {done}", err=True)


def _single_stage(making: Making, info: CheckpointInfo, checkpoint: str) -> Making:
    """That checkpoint's stage one at the size of this one's stage two; its other parameters are its own."""
    preset = info.presets[making.preset or info.default_preset]
    size = {
        "num_frames": preset.stage_one.num_frames,
        "height": preset.stage_two.height,
        "width": preset.stage_two.width,
    }
    single = Making(checkpoint, stage_one=size)
    single.request(CheckpointInfo.read(checkpoint), world_prompts(1, "held_out", 0)[0])
    return single


def _costs(making: Making, single_stage: Making | None, prompts: Sequence[Prompt]) -> dict[str, Mapping[str, float]]:
    """The fields of `Results` that say what a video costs; on the CPU, in float32."""
    typer.echo("cost", err=True)
    models = replace(making, device="cpu", dtype="float32").load()
    requests = [making.request(models.checkpoint, prompt) for prompt in prompts]
    costs: dict[str, Mapping[str, float]] = {
        "cpu_seconds": measure_cost.two_stage_seconds(models, requests),
        "flops": measure_cost.two_stage_flops(models, requests[0]),
        "single_stage_flops": measure_cost.single_stage_flops(models, requests[0]),
    }
    if single_stage is not None:
        stage_one = StageOne.from_pretrained(single_stage.checkpoint)
        requests = [single_stage.request(stage_one.checkpoint, prompt) for prompt in prompts]
        costs["single_stage_cpu_seconds"] = measure_cost.single_stage_seconds(stage_one, requests)
    return costs


def _sizes(making: Making, info: CheckpointInfo, prompt: Prompt) -> str:
    request = making.request(info, prompt)
    one, two = request.stage_one, request.stage_two
    return (
        f"{one.num_frames} frames; previews {one.height}x{one.width}, {one.num_inference_steps} evaluations; videos "
        f"{two.height}x{two.width}, {two.num_inference_steps} evaluations"
    )


def _write(results: Results, output: Path) -> None:
    """The pictures, and last the page that shows them, each whole."""
    with storage_errors(output):
        images = output.parent / IMAGES
        images.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent) as folder:
            staged = Path(folder)
            (staged / output.name).write_text(write_results(results, staged, IMAGES), "utf-8")
            for plot in staged.glob("*.png"):
                os.replace(plot, images / plot.name)
            os.replace(staged / output.name, output)


if __name__ == "__main__":
    main()
