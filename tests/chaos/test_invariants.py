"""Whatever a fault could do is found."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database.attempts import finish_stage
from deployments.database.engine import open_engine
from deployments.database.fair_order import enqueue
from deployments.database.tables import METADATA
from deployments.database.upgrade import upgrade
from deployments.job_names import workflow_id
from fv_ray.artifact_store import ArtifactStore
from fv_ray.video_io import encode_mp4
from tests.chaos.client import History, Told
from tests.chaos.invariants import Findings, examine
from tests.chaos.service import Mark
from tests.deployments.videos import Database, a_video, accepted, begun

KEY = "ab" * 32
VIDEOS, ATTEMPTS, RESULTS = (METADATA.tables[name] for name in ("videos", "attempts", "results"))


@dataclass
class Scene:
    """A preview that was made as it should be."""

    database: Database
    store: ArtifactStore
    history: History
    folder: Path
    marks: list[Mark]

    @property
    def video_id(self) -> str:
        return self.history.accepted[0][1]

    def execute(self, *statements: sa.Executable) -> None:
        with self.database.engine.begin() as conn:
            for statement in statements:
                conn.execute(statement)

    def examine(self) -> Findings:
        return examine(self.history, self.database.engine, self.store, self.marks, frozenset({"cancelled"}), settle_s=0)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    engine = open_engine(f"sqlite:///{tmp_path}/videos.sqlite")
    upgrade(engine)
    database = Database("", engine, DBOSClient(system_database_engine=engine))
    store = ArtifactStore.open(str(tmp_path / "artifacts"))
    encode_mp4([np.zeros((5, 32, 32, 3), np.uint8)], tmp_path / "preview.mp4", fps=8)
    content = (tmp_path / "preview.mp4").read_bytes()
    record = store.commit(KEY, "stage_one", {"preview.mp4": tmp_path / "preview.mp4"}, device="cpu", device_seconds=1)
    video = accepted(database, a_video(kind="preview"))
    finish_stage(engine, database.client, begun(database, video), record, "done", keep_s=1000)
    told = Told("key", "completed", hashlib.sha256(content).hexdigest())
    marks = [Mark("begin", 1, KEY, 1.0), Mark("end", 1, KEY, 2.0)]
    return Scene(database, store, History([("key", video.id)], {video.id: told}), tmp_path / "artifacts", marks)


def forget(scene: Scene) -> None:
    scene.execute(sa.delete(RESULTS), sa.delete(METADATA.tables["events"]), sa.delete(VIDEOS))


def strand(scene: Scene) -> None:
    scene.execute(sa.update(VIDEOS).values(state="in_progress"))


def fail_without_reason(scene: Scene) -> None:
    scene.execute(sa.update(VIDEOS).values(state="failed", error_code="internal_error"))
    scene.history.ended[scene.video_id].status = "failed"


def accept_again(scene: Scene) -> None:
    video = accepted(scene.database, a_video(kind="preview"))
    scene.history.accepted.append(("key", video.id))


def do_again(scene: Scene) -> None:
    with scene.database.engine.connect() as conn:
        (row,) = conn.execute(sa.select(ATTEMPTS))
    scene.execute(sa.insert(ATTEMPTS).values(row._asdict() | {"number": 2}))


def leave_open(scene: Scene) -> None:
    scene.execute(sa.update(ATTEMPTS).values(outcome="running"))


def cut_file(scene: Scene) -> None:
    (file,) = scene.folder.rglob("*.mp4")
    file.write_bytes(file.read_bytes()[:-1])


def change_record(scene: Scene) -> None:
    (file,) = scene.folder.rglob("record.json")
    file.write_text(file.read_text().replace('"cpu"', '"gpu"'))


def download_another(scene: Scene) -> None:
    told = scene.history.ended
    told[scene.video_id] = replace(told[scene.video_id], sha256="00")


def enqueue_twice(scene: Scene) -> None:
    with scene.database.engine.begin() as conn:
        enqueue(conn, scene.database.client, scene.video_id, "stage_one", 1, number=2, delay_s=9)


def run_two_at_once(scene: Scene) -> None:
    scene.marks.insert(1, Mark("begin", 1, "cd" * 32, 1.5))


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (forget, "lost"),
        (strand, "lost"),
        (fail_without_reason, "lost"),
        (accept_again, "duplicated"),
        (do_again, "duplicated"),
        (leave_open, "duplicated"),
        (enqueue_twice, "duplicated"),
        (cut_file, "corrupted"),
        (change_record, "corrupted"),
        (download_another, "corrupted"),
        (run_two_at_once, "overlapping"),
    ],
)
def test_a_harm_is_found(scene: Scene, harm: Callable[[Scene], None], kind: str) -> None:
    assert scene.examine().wrong == []
    harm(scene)
    assert getattr(scene.examine(), kind)


def test_a_video_that_nothing_will_bring_on_is_found(scene: Scene) -> None:
    strand(scene)
    num_lost = len(scene.examine().lost)
    scene.database.client.cancel_workflow(workflow_id(scene.video_id, "stage_one", 1))
    assert len(scene.examine().lost) == num_lost + 1


def test_a_run_that_is_made_again_is_counted(scene: Scene) -> None:
    assert scene.examine().num_reruns == 0
    scene.marks.append(Mark("begin", 2, KEY, 3.0))
    assert scene.examine().num_reruns == 1
