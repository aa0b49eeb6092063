"""What a run came to and what it cost, over all of its launches: report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pydantic import Field, ValidationError

from fv_ray.artifact_store import Stage
from fv_ray.blobs import Blobs
from fv_ray.types import Value
from jobs.generation.ask_store import ask
from jobs.generation.watch_rows import StageFigures
from jobs.generation.write_manifest import Written

REPORT_FILE = "report.json"


class LaunchEnd(Value):
    """attempts/LAUNCH.end.json: what a launch did; a killed one has none."""

    wall_s: float
    first_row_s: float | None = None
    """Until the first row had ended."""
    num_lost: int = 0
    """Attempts that it found dead: their process was killed, or their launch."""
    stages: dict[Stage, StageFigures] = Field(default_factory=dict)


def note_end(blobs: Blobs, launch: str, end: LaunchEnd) -> None:
    """Keep what a launch did."""
    ask(blobs.create, f"attempts/{launch}.end.json", end.model_dump_json(indent=2).encode())


def write_report(blobs: Blobs, written: Written, prices: Mapping[str, float]) -> dict[str, Any]:
    """Add up all launches, and write it down.

    Args:
        blobs: the run's folder.
        written: of the manifest.
        prices: of a device for an hour, by its name.
    """
    ends = _ends(blobs)
    report = _report(written, ends, prices, num_launches=_num_launches(blobs))
    with NamedTemporaryFile(suffix=".json") as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
        file.flush()
        ask(blobs.put, REPORT_FILE, Path(file.name))
    return report


def summary(report: Mapping[str, Any]) -> str:
    """A report in a line."""
    seconds, cost = report["device_s"], report["cost"]
    told = [
        f"{report['num_rows']} rows: {report['num_made']} made, {report['num_errors']} with errors",
        f"{report['num_repeated']} ask for what another does",
        f"{seconds['useful']:.1f} s on devices, {report['device_s_per_video'] or 0:.2f} s a video",
        f"{report['wall_s']:.1f} s in {report['num_launches']} launches",
    ]
    if cost["per_video"] is not None:
        told.append(f"{cost['per_video']:.4f} a video")
    return "; ".join(told)


def _num_launches(blobs: Blobs) -> int:
    return sum(path.endswith(".json") and not path.endswith(".end.json") for path in ask(blobs.files, "attempts"))


def _ends(blobs: Blobs) -> list[LaunchEnd]:
    found = []
    for path in sorted(ask(blobs.files, "attempts")):
        content = ask(blobs.read, path) if path.endswith(".end.json") else None
        try:
            found += [LaunchEnd.model_validate_json(content)] if content else []
        except ValidationError:
            continue  # of another version, for its own reader
    return found


def _report(
    written: Written, ends: list[LaunchEnd], prices: Mapping[str, float], *, num_launches: int
) -> dict[str, Any]:
    num_videos = written.num_made - written.num_repeated
    stages = {stage: _stage(stage, ends) for stage in ("stage_one", "stage_two")}
    useful_s = sum(written.useful_s.values())
    costs = {
        name: seconds / 3600 * prices[device]
        for name, seconds in written.useful_s.items()
        if (device := name.partition("/")[2]) in prices
    }
    return {
        "num_rows": written.num_rows,
        "num_made": written.num_made,
        "num_errors": written.num_errors,
        "num_repeated": written.num_repeated,
        "num_launches": num_launches,
        "wall_s": round(sum(end.wall_s for end in ends), 3),
        "device_s": {
            "useful": round(useful_s, 3),
            "useful_by_stage_and_device": {name: round(value, 3) for name, value in sorted(written.useful_s.items())},
            "failed": round(sum(stage["failed_s"] for stage in stages.values()), 3),
            "warm_up": round(sum(stage["warm_up_s"] for stage in stages.values()), 3),
            "num_lost_attempts": sum(end.num_lost for end in ends),
        },
        "device_s_per_video": round(useful_s / num_videos, 3) if num_videos else None,
        "phase_s_per_work": {stage: told["phase_s_per_work"] for stage, told in stages.items()},
        "cost": {
            "prices_per_hour": dict(prices),
            "useful": round(sum(costs.values()), 6) if costs else None,
            "per_video": round(sum(costs.values()) / num_videos, 6) if costs and num_videos else None,
            "devices_without_price": sorted({name.partition("/")[2] for name in written.useful_s} - set(prices)),
        },
    }


def _stage(stage: Stage, ends: list[LaunchEnd]) -> dict[str, Any]:
    found = [end.stages[stage] for end in ends if stage in end.stages]
    num_made = sum(each.num_made for each in found)
    phases: dict[str, float] = {}
    for each in found:
        for name, seconds in each.phase_s.items():
            phases[name] = phases.get(name, 0.0) + seconds
    return {
        "failed_s": sum(each.failed_s for each in found),
        "warm_up_s": sum(each.warm_up_s for each in found),
        "phase_s_per_work": {name: round(seconds / num_made, 4) for name, seconds in phases.items() if num_made},
    }
