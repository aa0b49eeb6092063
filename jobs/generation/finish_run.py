"""The end of a run: manifest, report, success, and what killed processes left; a killed call is just repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import typer

from fv_ray.blobs import Blobs
from jobs.generation.ask_store import ask
from jobs.generation.begin_run import SUCCESS_FILE
from jobs.generation.collect_garbage import collect_garbage
from jobs.generation.open_run import OpenRun
from jobs.generation.write_manifest import write_manifest, write_success
from jobs.generation.write_report import REPORT_FILE, write_report


def finish_run(run: OpenRun, prices: Mapping[str, float], orphan_age_s: float, folder: Path) -> dict[str, Any] | None:
    """Write everything down; the report. None: some rows have not ended, so there is no end yet.

    Args:
        run: whose rows are made or given up.
        prices: of a device for an hour, by its name.
        orphan_age_s: of files without a record that are removed.
        folder: for temporary files.
    """
    written = write_manifest(
        run.blobs,
        run.ends.of(run.rows),
        run.version,
        run.checkpoint,
        folder,
        has_own_previews=run.wanted.from_previews is None,
    )
    if written.num_not_ended:
        told = "rows have not ended: another launch has taken back what they came to"
        typer.echo(f"{written.num_not_ended} {told}; the same command goes on", err=True)
        return None
    if (first := finished(run)) is not None:  # by another launch
        return first
    report = write_report(run.blobs, written, prices)
    collect_garbage(run.store, run.marks, orphan_age_s)
    write_success(run.blobs, run.version, written)
    return report


def finished(run: OpenRun) -> dict[str, Any] | None:
    """The report of a run that is finished already, with this version or a later one.

    Where files are checked, a success that names damaged parts is removed.
    """
    success, report = ask(run.blobs.read, SUCCESS_FILE), ask(run.blobs.read, REPORT_FILE)
    if success is None or report is None or json.loads(success)["manifest_version"] < run.version:
        return None
    if run.wanted.checks_files and not _are_whole(run.blobs, json.loads(success)["parts"]):
        ask(run.blobs.remove, SUCCESS_FILE)
        return None
    told: dict[str, Any] = json.loads(report)
    return told


def _are_whole(blobs: Blobs, parts: Mapping[str, str]) -> bool:
    contents = ((ask(blobs.read, path), digest) for path, digest in parts.items())
    return all(content is not None and sha256(content).hexdigest() == digest for content, digest in contents)
