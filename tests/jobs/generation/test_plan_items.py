import json
from datetime import UTC, datetime
from pathlib import Path

from fv_ray.artifact_store import StageRecord
from fv_ray.checkpoint import CheckpointInfo
from jobs.generation.check_rows import Asking, Row, check_rows
from jobs.generation.find_ends import End
from jobs.generation.mark_rows import RowError
from jobs.generation.plan_items import plan_items
from jobs.generation.read_lines import RawRow
from tests.artifact_writer import key

NOW = datetime.now(UTC)
PREVIEW = StageRecord(work_key=key(1), stage="stage_one", artifacts={}, device_seconds=1, device="cpu", created_at=NOW)
GIVEN_UP = End(error=RowError(stage="stage_one", code="crash_loop", message="", attempts=3, node="a", created_at=NOW))


def rows(checkpoint: Path, *shifts: float) -> list[Row]:
    """Of one preview, but for a shift of 9."""
    raw = (
        RawRow("", {"prompt": "cat" if shift == 9 else "fox", "seed": 1, "stage_two.shift": shift}) for shift in shifts
    )
    return list(check_rows(raw, Asking(), CheckpointInfo.read(checkpoint)))


def test_a_preview_is_made_once_by_the_first_row_that_wants_it(small_checkpoint: Path) -> None:
    one, two, again, other = rows(small_checkpoint, 1, 2, 1, 9)
    plan = plan_items([(row, End()) for row in (one, two, again, other)], ())
    assert [item["preview_key"] for item in plan.previews] == [one.preview_key, other.preview_key]
    wanting = json.loads(plan.previews[0]["rows"])
    assert [row["key"] for row in wanting] == [one.key, two.key]
    assert (plan.num_rows, plan.num_failed) == (3, 0)
    assert one.request is not None
    assert plan.previews[0]["request"] == one.request.model_dump_json()


def test_the_first_row_decides_the_preview_also_where_it_is_given_up(small_checkpoint: Path) -> None:
    one, two = rows(small_checkpoint, 1, 2)
    plan = plan_items([(one, GIVEN_UP), (two, End())], ())
    assert one.request is not None
    assert plan.previews[0]["request"] == one.request.model_dump_json()
    assert [row["key"] for row in json.loads(plan.previews[0]["rows"])] == [two.key]
    assert plan.num_failed == 1


def test_what_is_made_is_not_planned_and_a_preview_that_is_there_is_taken(small_checkpoint: Path) -> None:
    one, two, other = rows(small_checkpoint, 1, 2, 9)
    made = End(preview=PREVIEW, is_made=True)
    plan = plan_items([(one, made), (two, End(preview=PREVIEW)), (other, made)], ())
    assert plan.previews == []
    assert [(item["key"], item["preview"]) for item in plan.halves] == [(two.key, PREVIEW.model_dump_json())]


def test_what_a_launch_has_died_at_comes_last(small_checkpoint: Path) -> None:
    one, other = rows(small_checkpoint, 1, 9)
    ended = [(one, End()), (other, End())]
    assert [item["preview_key"] for item in plan_items(ended, ()).previews] == [one.preview_key, other.preview_key]
    plan = plan_items(ended, {one.preview_key})
    assert [item["preview_key"] for item in plan.previews] == [other.preview_key, one.preview_key]
