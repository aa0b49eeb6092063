"""A run of jobs/generate.py to a data set that other tools read, or to pages that a person looks at.

    webdataset       tar shards of mp4, txt and json                  exporting/write_tars.py
    huggingface      a folder of videos, its table and its card       exporting/write_video_folder.py
    contact-sheet    HTML pages with thumbnails, prompts and links    exporting/draw_contact_sheet.py

    OUTPUT/recipe.json     what was asked for; written first
           summary.json    written last

The run is only read, and can be exported again as often as one likes. The same run gives the same bytes. What was
stopped goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import fsspec
import typer

from fv_ray.blobs import Blobs, open_blobs
from fv_ray.errors import InputError
from fv_ray.storage import storage_errors
from jobs.exporting.read_run import Run, read_run
from jobs.generation.ask_store import ask
from jobs.run_command import run_command
from jobs.run_folder import begin_folder, write_whole

Layout = Literal["webdataset", "huggingface", "contact-sheet"]
SUMMARY_FILE = "summary.json"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export(
    run: Annotated[str, typer.Option(help="URL of the folder of a run of jobs.generate.")],
    to: Annotated[Layout, typer.Option(help="The layout.")],
    output: Annotated[str, typer.Option(help="URL of a new folder, or of one that the same command began.")],
    shard_mb: Annotated[float, typer.Option(min=0, help="webdataset: of clips in a shard, at most.")] = 256,
    rows_per_page: Annotated[int, typer.Option(min=1, help="contact-sheet: at most.")] = 500,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="Data sets: rows too that ask for what an earlier one asks for.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Of a run that has not ended: what is made so far, by work keys.")
    ] = False,
) -> None:
    """Write a run's videos, or its previews, in another layout."""
    source = read_run(run, unfinished=unfinished)
    options_of: dict[Layout, dict[str, Any]] = {
        "webdataset": {"shard_mb": shard_mb, "repeats": repeats},
        "huggingface": {"repeats": repeats},
        "contact-sheet": {"rows_per_page": rows_per_page},
    }
    options = options_of[to]
    if to != "contact-sheet" and not source.num_made:
        raise InputError(f"{run} has made no {source.kind}; one at least must be there: run jobs.generate again")
    place = open_blobs(output)
    fs, root = fsspec.core.url_to_fs(output)
    begin_folder(fs, root, {"to": to, "run_id": source.note.run_id, "rows_sha256": source.sha256, **options})
    summary = ask(place.read, SUMMARY_FILE)
    if summary is None:
        with TemporaryDirectory(prefix="fv-ray.") as folder:
            told = _write(source, to, place, Path(folder), run, output, options)
        summary = (json.dumps(told) + "\n").encode()
        with storage_errors(output):
            write_whole(fs, f"{root}/{SUMMARY_FILE}", summary)
    counts = ", ".join(f"{number} {name.removeprefix('num_')}" for name, number in json.loads(summary).items())
    typer.echo(f"{counts} in {output}")


def main() -> None:
    """Run the job."""
    run_command(app)


def _write(
    source: Run, to: Layout, place: Blobs, folder: Path, run: str, output: str, options: dict[str, Any]
) -> dict[str, int]:
    """What there is then, in numbers. Each layout's library is imported only for it."""
    try:
        if to == "webdataset":
            from jobs.exporting.write_tars import write_tars

            return write_tars(source, place, folder, **options)
        if to == "huggingface":
            from jobs.exporting.write_video_folder import write_video_folder

            return write_video_folder(source, place, folder, **options)
        from jobs.exporting.draw_contact_sheet import draw_contact_sheet, link_base_of

        return draw_contact_sheet(source, place, folder, link_base=link_base_of(run, output), **options)
    except ImportError as error:
        told = f"--to {to} needs a package that is not installed ({error})"
        raise InputError(f"{told}; fv-ray's extra export has it: install fv-ray[export]") from error


if __name__ == "__main__":
    main()
