import json
from pathlib import Path

import pytest

from fv_ray.blobs import open_blobs
from jobs.generation.begin_run import note_attempt
from jobs.generation.watch_rows import StageFigures
from jobs.generation.write_manifest import Written
from jobs.generation.write_report import REPORT_FILE, LaunchEnd, note_end, summary, write_report

WRITTEN = Written(num_rows=5, num_made=3, num_errors=2, num_repeated=1, useful_s={"stage_one/a": 10, "stage_two/b": 30})


def test_all_launches_are_added_up_and_a_killed_one_is_counted(place: str) -> None:
    blobs = open_blobs(place)
    for launch in ("first", "killed", "last"):
        note_attempt(blobs, launch, ["--input", "a.csv"])
    one = StageFigures(num_made=1, failed_s=2, warm_up_s=3, phase_s={"generate": 4})
    two = StageFigures(num_made=3, failed_s=5, warm_up_s=7, phase_s={"generate": 8, "decode": 6})
    note_end(blobs, "first", LaunchEnd(wall_s=100, num_lost=1, stages={"stage_one": one}))
    note_end(blobs, "last", LaunchEnd(wall_s=20, num_lost=2, stages={"stage_one": two}))
    blobs.create("attempts/later.end.json", b'{"of": "another version"}')
    report = write_report(blobs, WRITTEN, {})
    assert report == json.loads(blobs.read(REPORT_FILE) or b"")
    assert (report["num_launches"], report["wall_s"]) == (3, 120)
    seconds = report["device_s"]
    assert (seconds["useful"], seconds["failed"], seconds["warm_up"], seconds["num_lost_attempts"]) == (40, 7, 10, 3)
    assert report["phase_s_per_work"] == {"stage_one": {"generate": 3, "decode": 1.5}, "stage_two": {}}


def test_what_is_made_twice_is_paid_once(tmp_path: Path) -> None:
    report = write_report(open_blobs(str(tmp_path)), WRITTEN, {"a": 3.6})
    assert report["device_s_per_video"] == 20
    assert report["cost"] == {
        "prices_per_hour": {"a": 3.6},
        "useful": pytest.approx(0.01),
        "per_video": pytest.approx(0.005),
        "devices_without_price": ["b"],
    }
    assert summary(report) == (
        "5 rows: 3 made, 2 with errors; 1 ask for what another does; 40.0 s on devices, 20.00 s a video; "
        "0.0 s in 0 launches; 0.0050 a video"
    )


def test_a_run_without_a_video_has_no_cost_of_one(tmp_path: Path) -> None:
    report = write_report(open_blobs(str(tmp_path)), Written(num_rows=1, num_errors=1), {"a": 3.6})
    assert (report["device_s_per_video"], report["cost"]["per_video"]) == (None, None)
    assert summary(report).endswith(" launches")
