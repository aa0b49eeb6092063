"""The Ray Data actors of both stages: a row's request to a stored preview, a stored preview to a stored video.

What travels from one to the other is the preview's record; its latents go by the store. An error of a row is a row.
The driver imports this too, and makes nothing: torch and the models are loaded where an actor begins.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from ray.actor import ActorHandle

from fv_ray.artifact_store import Stage, StageRecord
from fv_ray.types import VideoRequest
from fv_ray.works import Work, device_name, preview_work, video_work
from jobs.generation.run_work import WorkRunner

if TYPE_CHECKING:
    from fv_ray.stage_loading import AnyStage

HALF = "half"
"""What stage one says of a row that goes on to stage two, beside what `run_work` says of all others."""


@dataclass(frozen=True)
class Worker:
    """How actors work."""

    checkpoint: str
    """A folder that every node has."""
    store_url: str
    previews_url: str
    """Where stage two reads previews."""
    device: str
    dtype: str | None
    attention_backend: str
    salt: str
    stall_s: float
    """A step that takes longer is taken for hung: its process ends."""
    makes_videos: bool


class StageOneWorker:
    """Makes previews; each with the rows that want it."""

    def __init__(self, worker: Worker, board: ActorHandle) -> None:
        start = perf_counter()
        from fv_ray.stage_loading import warm_up_stage_one
        from fv_ray.stage_one import StageOne

        self._worker = worker
        self._stage = _load(StageOne, worker)
        warm_up_stage_one(self._stage)
        self._runner = _runner("stage_one", worker, board, device_name(self._stage.device))
        board.loaded.remote("stage_one", perf_counter() - start)

    def __call__(self, item: dict[str, str]) -> list[dict[str, str]]:
        """A preview's item to a row for each that wants it."""

        def work() -> Work:
            request = VideoRequest.model_validate_json(item["request"])
            backend, salt = self._worker.attention_backend, self._worker.salt
            return preview_work(self._stage, request, attention_backend=backend, salt=salt)

        rows: list[dict[str, str]] = json.loads(item["rows"])
        outcome = self._runner.run(item["preview_key"], work, [row["key"] for row in rows])
        status = HALF if outcome.record is not None and self._worker.makes_videos else outcome.status
        record = outcome.record.model_dump_json() if outcome.record else ""
        return [{**row, "status": status, "preview": record} for row in rows]


class StageTwoWorker:
    """Makes the videos of previews."""

    def __init__(self, worker: Worker, board: ActorHandle) -> None:
        start = perf_counter()
        from fv_ray.stage_loading import warm_up_stage_two
        from fv_ray.stage_two import StageTwo

        self._worker = worker
        self._stage = _load(StageTwo, worker)
        warm_up_stage_two(self._stage)
        self._runner = _runner("stage_two", worker, board, device_name(self._stage.device))
        board.loaded.remote("stage_two", perf_counter() - start)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """A row of stage one to one that says whether its video is there."""
        if row["status"] != HALF:
            return {"key": row["key"], "status": row["status"]}

        def work() -> Work:
            request = VideoRequest.model_validate_json(row["request"])
            preview = StageRecord.model_validate_json(row["preview"])
            backend, salt = self._worker.attention_backend, self._worker.salt
            return video_work(self._stage, request, preview, attention_backend=backend, salt=salt)

        return {"key": row["key"], "status": self._runner.run(row["key"], work, [row["key"]]).status}


def _load(stage_class: type[AnyStage], worker: Worker) -> AnyStage:
    from fv_ray.stage_loading import load_stage

    return load_stage(
        stage_class,
        Path(worker.checkpoint),
        device=worker.device,
        dtype=worker.dtype,
        attention_backend=worker.attention_backend,
    )


def _runner(stage: Stage, worker: Worker, board: ActorHandle, device: str) -> WorkRunner:
    return WorkRunner(
        stage,
        store_url=worker.store_url,
        previews_url=worker.previews_url,
        board=board,
        device_name=device,
        stall_s=worker.stall_s,
    )
