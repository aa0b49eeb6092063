"""A table of prompts to a data set of videos, on Ray Data, resumable to the row.

    OUTPUT/run.json           what was asked for; written first, never changed
           dtype.json         of the weights, where that leaves it open
           w/KK/KEY/          videos and previews, each stage's committed by its record: fv_ray/artifact_store.py
           enhanced/KK/KEY    with --enhance: what became of a prompt, before anything is made of it
           rows/KK/KEY/       errors of rows
           manifest/v0001/    Parquet, a line an input row
           errors/v0001/      rows that were not made, with the reason
           attempts/          two files a launch: that it began, and what it did
           report.json        counts, seconds, cost
           _SUCCESS.json      written last

Exit status: 0 all is made, 3 made but for rows with errors, 4 too many errors (where rows are left there is no manifest
yet), 75 stopped: the same command goes on.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal
from uuid import uuid4

import typer

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.errors import EnhancerUnavailable, InputError, StoreUnavailable
from jobs.connect_ray import RayGaveUp
from jobs.enhance_rows import Enhancer, read_enhancer
from jobs.generation.begin_run import note_attempt
from jobs.generation.check_rows import Asking
from jobs.generation.drive_launch import RESUMABLE, Signals, listening
from jobs.generation.finish_run import finish_run, finished
from jobs.generation.make_rows import Launch, Workers, make_rows
from jobs.generation.open_run import OpenRun, Wanted, open_run
from jobs.generation.plan_items import plan_items
from jobs.generation.type_fields import read_changes
from jobs.generation.write_report import LaunchEnd, note_end, summary
from jobs.read_pairs import read_pairs
from jobs.run_command import run_command

WITH_ERRORS, TOO_MANY_ERRORS = 3, 4
_TOO_MANY = "more rows have errors than --max-error-rate allows"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generate(
    output: Annotated[str, typer.Option(help="URL of a new folder, or of one that the same command began.")],
    source: Annotated[
        str | None, typer.Option("--input", help="CSV, JSONL, Parquet or text with a prompt a line; a folder, a glob.")
    ] = None,
    checkpoint: Annotated[
        Path, typer.Option(help="A checkpoint folder that every node has.", show_default="the embedded model")
    ] = DEFAULT_MODEL,
    preset: Annotated[str | None, typer.Option(help="Of the checkpoint; a row may name another.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="stage_two.num_inference_steps=4 and so on; rows may differ.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="From it and a row's id comes the seed of a row without one.")] = 0,
    preview_only: Annotated[bool, typer.Option("--preview-only", help="Stage one alone.")] = False,
    from_previews: Annotated[str | None, typer.Option(help="URL of a --preview-only run to make videos of.")] = None,
    select: Annotated[
        str | None, typer.Option(help="With --from-previews: a table of the ids that are wanted.")
    ] = None,
    enhance: Annotated[bool, typer.Option("--enhance", help="Rewrite short prompts to captions first.")] = False,
    always: Annotated[
        bool, typer.Option("--always", help="With --enhance: also prompts that are as long as a caption.")
    ] = False,
    enhancer: Annotated[
        list[str] | None, typer.Option(help="kind=vllm, model=DIR and so on, named as in jobs.enhance. Default: rules.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A row that cannot be made ends the command.")] = False,
    extend: Annotated[bool, typer.Option("--extend", help="The input has more rows behind those of before.")] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Try the rows again that were given up.")
    ] = False,
    check_files: Annotated[
        bool, typer.Option("--check-files", help="Read all that is stored; what is damaged is made again.")
    ] = False,
    max_error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="A greater share of rows with errors ends the run, status 4.")
    ] = 1.0,
    ignore_column: Annotated[list[str] | None, typer.Option(help="Of the table, to be passed over.")] = None,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Default: cuda where Ray has GPUs.")] = None,
    dtype: Annotated[
        Literal["bfloat16", "float32"] | None,
        typer.Option(help="Default: bfloat16 where the first launch is on GPUs, else float32."),
    ] = None,
    attention_backend: Annotated[str, typer.Option(help="diffusers' name of an attention kernel.")] = "native",
    stage_one_workers: Annotated[str, typer.Option(help="N, or LEAST:MOST; without MOST as Ray has room.")] = "1:",
    stage_two_workers: Annotated[str, typer.Option(help="As above.")] = "1:",
    stage_one_gpus: Annotated[
        float | None, typer.Option(min=0, help="Of each. Default: 1; 0.5 of a single one.")
    ] = None,
    stage_two_gpus: Annotated[float | None, typer.Option(min=0, help="As above.")] = None,
    worker_cpus: Annotated[float, typer.Option(min=0, help="Of each.")] = 1,
    stall_s: Annotated[float, typer.Option(min=1, help="A step that takes longer is taken for hung.")] = 600,
    drain_s: Annotated[float, typer.Option(min=0, help="On SIGTERM: how long rows at hand may take.")] = 120,
    orphan_age_s: Annotated[float, typer.Option(min=0, help="Files without a record are removed then.")] = 86_400,
    price: Annotated[list[str] | None, typer.Option(help="DEVICE=PRICE of an hour, as records name it.")] = None,
) -> None:
    """Make the videos of a table of prompts."""
    asking = Asking(
        preset=preset,
        **read_changes(read_pairs("--set", changes or [])),
        seed=seed,
        makes="previews" if preview_only else "videos",
    )
    wanted = Wanted(
        source=_source(source, from_previews, select, preview_only=preview_only),
        output=output,
        checkpoint=checkpoint,
        asking=asking,
        from_previews=from_previews,
        dtype=dtype,
        attention_backend=attention_backend,
        ignored=frozenset(ignore_column or ()),
        is_strict=strict,
        extends=extend,
        retries_errors=retry_errors,
        enhancer=_enhancer(
            enhancer or [], checkpoint, is_wanted=enhance, is_forced=always, has_previews=from_previews is not None
        ),
        checks_files=check_files,
    )
    launch = Launch(
        device=device,
        stage_one=Workers.read("--stage-one-workers", stage_one_workers, stage_one_gpus),
        stage_two=Workers.read("--stage-two-workers", stage_two_workers, stage_two_gpus),
        num_cpus=worker_cpus,
        stall_s=stall_s,
        drain_s=drain_s,
        max_error_rate=max_error_rate,
    )
    prices = _prices(price or [])
    with TemporaryDirectory(prefix="fv-ray.") as folder, listening() as signals:
        status = _run(wanted, launch, prices, orphan_age_s, Path(folder), signals)
    if status:
        raise typer.Exit(status)


def main() -> None:
    """Run the job."""
    run_command(app)


def _run(
    wanted: Wanted, launch: Launch, prices: dict[str, float], orphan_age_s: float, folder: Path, signals: Signals
) -> int:
    """The exit status."""
    try:
        run = open_run(wanted, folder)
        if (report := finished(run)) is None:
            if status := _make(run, launch, signals):
                return status
            report = finish_run(run, prices, orphan_age_s, folder)
    except (EnhancerUnavailable, RayGaveUp, StoreUnavailable) as error:  # another kind of error would only come again
        _tell(f"error: {error}")
        return RESUMABLE
    except BaseException as error:  # SIGTERM while prompts are enhanced; with vLLM, Ray has a handler of its own
        if signals.is_leaving or isinstance(error, SystemExit):
            return RESUMABLE
        raise
    if report is None:
        return RESUMABLE
    _tell(summary(report))
    if report["num_errors"] > launch.max_error_rate * report["num_rows"]:
        _tell(_TOO_MANY)
        return TOO_MANY_ERRORS
    return WITH_ERRORS if report["num_errors"] else 0


def _make(run: OpenRun, launch: Launch, signals: Signals) -> int:
    """Do what is left to do; the exit status where that was not all."""
    name, start_s = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:12]}", time.monotonic()
    note_attempt(run.blobs, name, sys.argv[1:])
    _, begun = run.marks.read_all()
    plan = plan_items(run.ends.of(run.rows), begun)
    _tell(f"{run.rows.num_rows} rows: {plan.num_rows} to make, {plan.num_failed} with errors")
    if plan.num_rows and plan.num_failed > launch.max_error_rate * run.rows.num_rows:
        _tell(_TOO_MANY)
        return TOO_MANY_ERRORS
    end, status = LaunchEnd(wall_s=0), 0
    if plan.num_rows:
        driven = make_rows(run, plan, launch, signals)
        end = LaunchEnd(wall_s=0, first_row_s=driven.first_row_s, stages=dict(driven.figures))
        status = {"done": 0, "drained": RESUMABLE, "errors": TOO_MANY_ERRORS}[driven.reason]
    is_last = plan.num_rows and not status  # what is marked now is of the dead, and another launch counts it no more
    num_lost = sum(run.marks.read_all()[1].values()) if is_last else 0
    changes = {"wall_s": time.monotonic() - start_s, "num_lost": num_lost}
    note_end(run.blobs, name, end.model_copy(update=changes))
    if status:
        _tell(_TOO_MANY if status == TOO_MANY_ERRORS else "stopped; the same command goes on")
    return status


def _source(source: str | None, from_previews: str | None, select: str | None, *, preview_only: bool) -> str:
    """The table's URL: of prompts, or of what is selected."""
    if from_previews is None and source is not None and select is None:
        return source
    if from_previews is not None and select is not None and source is None and not preview_only:
        return select
    raise InputError("give either --input, or --from-previews with --select and without --preview-only")


def _enhancer(
    arguments: list[str], checkpoint: Path, *, is_wanted: bool, is_forced: bool, has_previews: bool
) -> Enhancer | None:
    if is_wanted and has_previews:
        raise InputError(
            "--enhance is given with --from-previews; a video has its preview's prompt, as it was enhanced then: "
            "leave --enhance out"
        )
    if not is_wanted and (arguments or is_forced):
        given = "--enhancer" if arguments else "--always"
        raise InputError(f"{given} is given without --enhance; it says how prompts are enhanced: add --enhance")
    if not is_wanted:
        return None
    pairs = read_pairs("--enhancer", arguments)
    return read_enhancer("--enhancer", pairs, checkpoint=str(checkpoint), is_forced=is_forced)


def _prices(arguments: list[str]) -> dict[str, float]:
    prices = {}
    for device, text in read_pairs("--price", arguments).items():
        try:
            prices[device] = float(text)
        except ValueError:
            raise InputError(f"the price of {device} is {text!r}; a number is allowed: write {device}=3.5") from None
    return prices


def _tell(line: str) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    main()
