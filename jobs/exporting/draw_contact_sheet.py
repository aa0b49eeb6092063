"""A run's rows to HTML pages to scroll: thumbnail, prompt, seed, size, a link to the mp4; errors with reasons.

    OUTPUT/index.html  page-0002.html ...

A page holds its pictures, and needs nothing else but what its links lead to. Prompts are whatever anybody wrote: they
are escaped, and the page allows no script. Links are relative where run and pages are in one place, else the run's URL.
"""

from __future__ import annotations

import base64
import posixpath
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fv_ray.artifact_store import MEDIA_TYPES
from fv_ray.blobs import Blobs
from fv_ray.storage import storage_errors
from jobs.exporting.copy_clips import in_order
from jobs.exporting.read_run import Run, RunRow
from jobs.generation.ask_store import ask

TEMPLATE = "contact_sheet.html"


def draw_contact_sheet(run: Run, output: Blobs, folder: Path, *, link_base: str, rows_per_page: int) -> dict[str, int]:
    """Write the pages that are not there yet, each whole; how many rows and pages there are then.

    Args:
        run: whose rows, those with errors as well.
        output: place of the pages.
        folder: for temporary files.
        link_base: URL of the run's folder, as the pages see it: see `link_base_of`.
        rows_per_page: at most.

    Raises:
        StorageError: a place cannot be read or written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template(TEMPLATE)
    pages = [_page_name(number) for number in range(max(-(-run.num_rows // rows_per_page), 1))]
    done, rows, file = set(ask(output.files, "")), run.rows(), folder / "page.html"
    for number, page in enumerate(pages):
        shown = list(islice(rows, rows_per_page))
        if page in done:
            continue
        html = template.render(
            title=f"{run.kind}s by {run.note.settings.checkpoint_name}",
            note=run.note,
            num_rows=run.num_rows,
            num_made=run.num_made,
            is_unfinished=run.parts is None,
            pages=pages,
            number=number,
            cards=in_order(partial(_card, run, link_base), shown),
        )
        with storage_errors(file):
            file.write_text(html, "utf-8")
        ask(output.put, page, file)
    return {"num_rows": run.num_rows, "num_pages": len(pages)}


def link_base_of(run_url: str, output_url: str) -> str:
    """Where a page of `output_url` finds the run's folder."""
    (run_fs, run_root), (output_fs, output_root) = map(fsspec.core.url_to_fs, (run_url, output_url))
    if run_fs.protocol != output_fs.protocol:
        url: str = run_fs.unstrip_protocol(run_root)
        scheme, _, path = url.partition("://")
        return f"{scheme}://{quote(path)}"
    return quote(posixpath.relpath(run_root, output_root))


def _page_name(number: int) -> str:
    return "index.html" if number == 0 else f"page-{number + 1:04d}.html"


def _card(run: Run, link_base: str, row: RunRow) -> dict[str, Any]:
    names = ("prompt", "seed", "height", "width", "num_frames")
    return {name: row.line.get(name) for name in names} | {
        "number": row.number,
        "id": row.line["id"],
        "status": row.line["status"],
        "same_as": row.line["same_as_row"],
        "code": row.line["error_code"],
        "reason": row.reason,
        "href": f"{link_base}/{row.clip.path}" if row.clip else None,
        "picture": _picture(run, row),
    }


def _picture(run: Run, row: RunRow) -> str | None:
    """The thumbnail as a URL that holds it; None where there is none."""
    content = ask(run.blobs.read, row.thumbnail) if row.clip and row.thumbnail else None
    return f"data:{MEDIA_TYPES['.webp']};base64,{base64.b64encode(content).decode()}" if content else None
