import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from deployments.database.fair_order import MAX_INTERACTIVE_TAG, MAX_TAG, advance_clock, next_tag
from deployments.job_names import workflow_id
from tests.deployments.videos import Database, a_video, accepted, begun, finished, workflows

ROOT = Path(__file__).parents[3]
NUM_OF_ONE_TENANT = 100
NUM_STARTED_BEFORE = 3


def order(database: Database) -> list[str]:
    """Of what waits in DBOS' queues, as DBOS takes it."""
    return [workflow["workflow_uuid"].partition("-")[0] for workflow in workflows(database)]


def test_tenants_take_turns_however_many_videos_one_has(database: Database) -> None:
    foxes = [accepted(database, a_video("fox")).id for _ in range(4)]
    owls = [accepted(database, a_video("owl")).id for _ in range(2)]
    assert order(database) == [foxes[0], owls[0], foxes[1], owls[1], foxes[2], foxes[3]]


def test_a_tenant_cannot_save_turns_up(database: Database) -> None:
    foxes = [accepted(database, a_video("fox")) for _ in range(6)]
    for video in foxes[:3]:
        begun(database, video)
    owls = [accepted(database, a_video("owl")).id for _ in range(3)]
    assert order(database)[3:] == [foxes[3].id, owls[0], foxes[4].id, owls[1], foxes[5].id, owls[2]]


def test_each_stage_has_its_own_turns(database: Database) -> None:
    videos = [accepted(database) for _ in range(3)]
    for video in videos:
        finished(database, begun(database, video))
    priorities = [row["priority"] for row in workflows(database) if row["queue_name"] == "stage_two"]
    assert priorities == [1, 2, 3]


@pytest.mark.parametrize("for_batch", [False, True])
def test_the_lowest_priority_is_no_error(database: Database, for_batch: bool) -> None:
    most = MAX_TAG if for_batch else MAX_INTERACTIVE_TAG
    with database.engine.begin() as conn:
        advance_clock(conn, "stage_one", most)
        assert next_tag(conn, "stage_one", "fox", for_batch=for_batch) == most
    assert [accepted(database, a_video(is_of_batch=for_batch)).priority for _ in range(2)] == [most, most]


EXECUTOR = """
import sys
import threading
from dbos import DBOS
from deployments.database.attempts import begin_attempt
from deployments.database.engine import open_engine
from deployments.job_names import APPLICATION_VERSION, RUN_STAGE

engine = open_engine(sys.argv[1])
config = {"name": "fv-ray", "system_database_engine": engine, "application_version": APPLICATION_VERSION}
DBOS(config={**config, "executor_id": "orchestrator-0", "run_admin_server": False})

@DBOS.workflow(name=RUN_STAGE)
def run_stage(video_id: str, stage: str, number: int) -> None:
    if begin_attempt(engine, video_id, stage, number) is not None:
        sys.stdout.write(f"{video_id}\\n")
        sys.stdout.flush()

DBOS.launch()
DBOS.register_queue("stage_one", worker_concurrency=1, polling_interval_sec=0.01)
threading.Event().wait()
"""


def started(database: Database, num_videos: int) -> list[str]:
    """The first videos that a real executor of DBOS takes from the queue, one after the other."""
    command = [sys.executable, "-c", EXECUTOR, database.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as executor:
        assert executor.stdout is not None
        ids = [line.strip() for line in islice(executor.stdout, num_videos)]
        executor.kill()
    return ids


def test_a_hundred_videos_of_one_tenant_delay_anothers_by_one(database: Database) -> None:
    foxes = [accepted(database, a_video("fox", kind="preview")) for _ in range(NUM_OF_ONE_TENANT)]
    for video in foxes[:NUM_STARTED_BEFORE]:
        begun(database, video)
        database.client.cancel_workflow(workflow_id(video.id, "stage_one", 1))
    owl = accepted(database, a_video("owl", kind="preview"))
    assert started(database, 3) == [foxes[NUM_STARTED_BEFORE].id, owl.id, foxes[NUM_STARTED_BEFORE + 1].id]
