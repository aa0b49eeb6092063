"""Rows and their ends to what the pipeline has to do: a preview once, however many rows want it; a row once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from jobs.generation.check_rows import Row
from jobs.generation.find_ends import End
from jobs.generation.make_stages import HALF


@dataclass
class Plan:
    """What is still to do."""

    previews: list[dict[str, str]] = field(default_factory=list)
    """Items of stage one."""
    halves: list[dict[str, str]] = field(default_factory=list)
    """Rows whose preview is there: items of stage two."""
    num_rows: int = 0
    """That are not made yet, each once."""
    num_failed: int = 0
    """Rows that were refused or given up before."""


def plan_items(ended: Iterable[tuple[Row, End]], begun: Collection[str]) -> Plan:
    """Say what to do, in the rows' order; what a launch had died of comes last, so that it delays nobody else.

    A preview is made from the request of the first row that wants it, whatever was done before: so its file,
    which tells the request, is the same in every run.

    Args:
        ended: every row with its end, in order.
        begun: keys that were being made when their process died.
    """
    plan, seen = Plan(), set[str]()
    first_requests: dict[str, str] = {}
    wanting: dict[str, list[dict[str, str]]] = {}
    for row, end in ended:
        if row.request is None:
            plan.num_failed += 1
            continue
        request = row.request.model_dump_json()
        if end.preview is None:
            first_requests.setdefault(row.preview_key, request)
        if end.is_made or end.error is not None or row.key in seen:
            plan.num_failed += end.error is not None and not end.is_made
            continue
        seen.add(row.key)
        item = {"key": row.key, "request": request}
        if end.preview is None:
            wanting.setdefault(row.preview_key, []).append(item)
        else:
            plan.halves.append({**item, "status": HALF, "preview": end.preview.model_dump_json()})
    plan.num_rows = len(seen)
    plan.previews = [
        {"preview_key": key, "request": first_requests[key], "rows": json.dumps(rows)} for key, rows in wanting.items()
    ]
    plan.previews.sort(key=lambda item: item["preview_key"] in begun)
    plan.halves.sort(key=lambda item: item["key"] in begun)
    return plan
