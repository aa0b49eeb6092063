"""The side of the service that HTTP does not see, played with the real database and the real store."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployments.database.attempts import begin_attempt, fail, finish_stage, record_progress
from deployments.database.records import Attempt
from deployments.database.retention import mark_expired
from deployments.http.service import Service
from fv_ray.artifact_store import Stage, StageRecord
from fv_ray.video_io import encode_mp4, write_spritesheet, write_thumbnail

DEVICE_SECONDS = 20.0
KEEP_S = 1000.0


@dataclass(frozen=True)
class Worker:
    """Makes noise of every video."""

    service: Service
    folder: Path

    def begin(self, video_id: str, stage: Stage = "stage_one") -> Attempt:
        attempt = begin_attempt(self.service.engine, video_id, stage, 1)
        assert attempt is not None
        return attempt

    def progress(self, attempt: Attempt, percent: int) -> bool:
        return record_progress(self.service.engine, attempt, percent, {"phase": "generate"})

    def finish(
        self, attempt: Attempt, *, keep_s: float = KEEP_S, device_seconds: float = DEVICE_SECONDS
    ) -> StageRecord:
        """Real files in the real store, under the video's own key."""
        name = "preview" if attempt.stage == "stage_one" else "video"
        frames = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), dtype=np.uint8)
        files = {suffix: self.folder / f"{name}{suffix}" for suffix in (".mp4", ".webp", "_sheet.webp")}
        encode_mp4([frames], files[".mp4"], fps=8)
        write_thumbnail(frames[0], files[".webp"])
        write_spritesheet(frames, files["_sheet.webp"])
        key = hashlib.sha256(f"{attempt.video.id}/{attempt.stage}".encode()).hexdigest()
        record = self.service.store.commit(
            key,
            attempt.stage,
            {path.name: path for path in files.values()},
            device="cpu",
            device_seconds=device_seconds,
        )
        finish_stage(self.service.engine, self.service.client, attempt, record, "done", keep_s=keep_s)
        return record

    def make(self, video_id: str, *stages: Stage, keep_s: float = KEEP_S) -> None:
        """All stages of a video, or those that are named."""
        for stage in stages or ("stage_one",):
            self.finish(self.begin(video_id, stage), keep_s=keep_s)

    def fail(self, video_id: str, code: str, message: str) -> None:
        fail(self.service.engine, self.begin(video_id), "failed", code, message)

    def expire_all(self) -> None:
        """Every ended video lets its results go."""
        mark_expired(self.service.engine, now=1e12)
