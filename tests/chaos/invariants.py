"""What must hold when all has ended, judged by the clients' history, the database and the store; never by logs."""

import io
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import av
import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database.tables import METADATA
from deployments.job_names import RUN_STAGE
from fv_ray.artifact_store import ArtifactStore, StageRecord
from fv_ray.errors import StorageError
from tests.chaos.client import TERMINAL, History
from tests.chaos.service import Mark

SETTLE_S = 60


@dataclass
class Findings:
    """Each list names what is wrong; all are empty where nothing is."""

    num_videos: int = 0
    num_failed: int = 0
    """For a reason that the fault explains."""
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    """Two runs on one device at a time."""
    num_reruns: int = 0
    """Runs on a device beyond the first of a work."""
    recovery_s: list[float] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        return [*self.lost, *self.duplicated, *self.corrupted, *self.overlapping]


def examine(
    history: History,
    engine: sa.Engine,
    store: ArtifactStore,
    marks: Sequence[Mark],
    may_fail: Set[str],
    *,
    settle_s: float = SETTLE_S,
) -> Findings:
    """Judge the videos of a history.

    Args:
        history: of all clients.
        engine: of the service's database.
        store: of its results.
        marks: runs on devices, since the clients began.
        may_fail: error codes that a video may end with.
        settle_s: how long attempts of videos that have ended may take to be closed.
    """
    ids = {video_id for _, video_id in history.accepted}
    rows = _settled_rows(engine, ids, settle_s)
    found = Findings(num_videos=len(ids))
    waiting = _waiting_workflows(engine)
    found.lost += _lost(ids, history, rows["videos"], may_fail)
    found.lost += [
        f"{video.id} is {video.state}, and nothing will bring it on"
        for video in rows["videos"]
        if video.state not in TERMINAL and not waiting[video.id]
    ]
    found.num_failed = sum(video.state == "failed" for video in rows["videos"])
    found.duplicated += _duplicated(history, rows)
    found.duplicated += [f"{video_id} has {waiting[video_id]} workflows" for video_id in ids if waiting[video_id] > 1]
    found.corrupted += _corrupted(history, rows["results"], store)
    found.overlapping += _overlapping(marks)
    begun = Counter(mark.work_key for mark in marks if mark.what == "begin")
    found.num_reruns = sum(number - 1 for number in begun.values())
    found.recovery_s += _recoveries(history.injected_at, rows["attempts"])
    return found


def _settled_rows(engine: sa.Engine, ids: Set[str], settle_s: float) -> dict[str, list[Any]]:
    """Of these videos, when no attempt is open any more, or will not be closed."""
    deadline = time.monotonic() + settle_s
    while True:
        with engine.connect() as conn:
            rows = {
                name: [row for row in conn.execute(sa.select(METADATA.tables[name])) if _video_id(row) in ids]
                for name in ("videos", "results", "attempts", "events")
            }
        is_open = any(row.outcome == "running" for row in rows["attempts"])
        if not is_open or time.monotonic() > deadline:
            return rows
        time.sleep(0.2)


def _waiting_workflows(engine: sa.Engine) -> Counter[str]:
    """How many of each video will run, or do."""
    client = DBOSClient(system_database_engine=engine)
    status = ["ENQUEUED", "DELAYED", "PENDING"]
    found = client.list_workflows(status=status, name=RUN_STAGE, load_input=False, load_output=False)
    client.destroy()
    return Counter(workflow.workflow_id.partition("-")[0] for workflow in found)


def _video_id(row: Any) -> str:
    return str(row.id if hasattr(row, "id") else row.video_id)


def _lost(ids: Set[str], history: History, videos: Sequence[Any], may_fail: Set[str]) -> Iterator[str]:
    by_id = {video.id: video for video in videos}
    for video_id in ids:
        video, told = by_id.get(video_id), history.ended.get(video_id)
        if video is None:
            yield f"{video_id} was accepted and is not there"
        elif told is None or told.status not in TERMINAL or video.state not in TERMINAL:
            yield f"{video_id} has not ended: {video.state} at {video.stage}, the client knows {told}"
        elif told.status != video.state:
            yield f"{video_id} was {told.status} and is {video.state}"
        elif video.state == "failed" and video.error_code not in may_fail:
            yield f"{video_id} failed with {video.error_code}: {video.error_message}"


def _duplicated(history: History, rows: dict[str, list[Any]]) -> Iterator[str]:
    ids_of_key = defaultdict(set)
    for key, video_id in history.accepted:
        ids_of_key[key].add(video_id)
    yield from (f"{key} became {ids}" for key, ids in ids_of_key.items() if len(ids) > 1)
    well = Counter((row.video_id, row.stage) for row in rows["attempts"] if row.outcome in {"done", "reused"})
    yield from (f"{stage} of {video_id} was done {n} times" for (video_id, stage), n in well.items() if n > 1)
    yield from (f"{row.stage} of {row.video_id} is still open" for row in rows["attempts"] if row.outcome == "running")
    ends = Counter(row.video_id for row in rows["events"] if row.type in {"video.completed", "video.failed"})
    yield from (f"{video_id} has ended {ends[video_id]} times" for video_id in history.ended if ends[video_id] != 1)


def _corrupted(history: History, results: Sequence[Any], store: ArtifactStore) -> Iterator[str]:
    downloads = defaultdict(set)
    for row in results:
        record = StageRecord.model_validate(row.record)
        try:
            if store.find(row.work_key) != record:
                yield f"{row.stage} of {row.video_id}: the store has another record than the database"
            for name, artifact in record.artifacts.items():
                content = store.read(artifact)
                if name.endswith(".mp4"):
                    downloads[row.video_id].add(artifact.sha256)
                    _decode(content)
        except (StorageError, av.FFmpegError, AssertionError) as error:
            yield f"{row.stage} of {row.video_id}: {error!r}"
    for video_id, told in history.ended.items():
        if told.status == "completed" and told.sha256 not in downloads[video_id]:
            yield f"{video_id}: what was downloaded is not what was stored"


def _decode(content: bytes) -> None:
    with av.open(io.BytesIO(content)) as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    assert num_frames == 5, f"{num_frames} frames"


def _overlapping(marks: Sequence[Mark]) -> Iterator[str]:
    """A process is a device here. One that was killed in a run has begun and never ended."""
    running: dict[int, str] = {}
    for mark in marks:
        if mark.what == "end":
            running.pop(mark.process, None)
        elif mark.process in running:
            yield f"process {mark.process} began {mark.work_key} within {running[mark.process]}"
        else:
            running[mark.process] = mark.work_key


def _recoveries(injected_at: Sequence[float], attempts: Sequence[Any]) -> Iterator[float]:
    """How long until each stage that had work left was done with a video again."""
    for at in injected_at:
        ended = [
            (row.stage, row.ended_at) for row in attempts if row.outcome in {"done", "reused"} and row.ended_at > at
        ]
        firsts = [min(when for stage, when in ended if stage == each) for each in {stage for stage, _ in ended}]
        if firsts:
            yield max(firsts) - at
