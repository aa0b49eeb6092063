"""A video's row to what clients read: OpenAI's video object, with all of ours under `flashvideo`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from deployments.database.records import Kind, State, VideoRecord
from deployments.database.videos import queue_position
from deployments.http.admission import paces, stages_of, work_seconds
from deployments.http.estimate import eta_seconds
from deployments.http.service import Service
from fv_ray.artifact_store import Stage
from fv_ray.prompts.enhanced import EnhancerKind, Motion, Outcome
from fv_ray.sizes import PixelSize, told_seconds


class VideoError(BaseModel):
    """Why a video failed."""

    code: str
    message: str


class ClipSizes(BaseModel):
    """True sizes, WIDTHxHEIGHT."""

    preview: str
    video: str


class Enhancement(BaseModel):
    """What became of the prompt."""

    outcome: Outcome
    kind: EnhancerKind
    motion: Motion | None
    notes: list[str]
    """For people: what was chosen, left out, mended or refused."""


class VideoExtras(BaseModel):
    """What OpenAI's object has no place for."""

    kind: Kind
    stage: Stage
    """That it waits for, is in, or was last in."""
    enhanced_prompt: str | None
    """What the model reads in place of the prompt; null where it reads the prompt itself."""
    enhancement: Enhancement | None
    """Null where nobody was to enhance the prompt."""
    seed: int
    stage_two_seed: int
    preview_id: str | None
    """Of a commit: the preview."""
    queue_position: int | None
    """How many wait before it; null when it does not wait, and in lists."""
    eta_seconds: float | None
    """Until it is ready, as far as was measured; null in lists."""
    stage_durations: dict[Stage, float]
    """Device seconds of each stage that is done."""
    sizes: ClipSizes
    num_frames: int
    fps: int


class VideoObject(BaseModel):
    """A video, or a preview."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: State
    """A cancelled one is failed, with error.code cancelled."""
    progress: int
    """Percent; 100 when completed, at most 99 before."""
    created_at: int
    """Unix seconds, as all times here."""
    completed_at: int | None
    expires_at: int | None
    prompt: str
    """As it was sent."""
    size: str
    """WIDTHxHEIGHT of the file that /content gives: of a preview, the preview's."""
    seconds: str
    """To the nearest whole second; exactly num_frames / fps."""
    remixed_from_video_id: str | None
    """The video that was remixed, or the preview that was committed."""
    error: VideoError | None
    flashvideo: VideoExtras


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """A video is shown no more."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def video_object(service: Service, video: VideoRecord, *, with_queue: bool = True) -> VideoObject:
    """What clients read of a video.

    Args:
        service: to count what waits before it.
        video: as stored.
        with_queue: tell its place and how long it will take, at the cost of a few queries.
    """
    request, fps = video.request, service.checkpoint.fps
    preview = PixelSize(request.stage_one.width, request.stage_one.height)
    final = PixelSize(request.stage_two.width, request.stage_two.height)
    position, eta_s = _queue(service, video) if with_queue else (None, None)
    enhancement = video.enhancement
    return VideoObject(
        id=video.id,
        model=video.model,
        status=video.state,
        progress=video.progress,
        created_at=int(video.created_at),
        completed_at=None if video.completed_at is None else int(video.completed_at),
        expires_at=None if video.expires_at is None else int(video.expires_at),
        prompt=request.prompt if enhancement is None else enhancement.prompt,
        size=str(preview if video.kind == "preview" else final),
        seconds=told_seconds(request.stage_one.num_frames, fps),
        remixed_from_video_id=video.parent_id,
        error=_error(video),
        flashvideo=VideoExtras(
            kind=video.kind,
            stage=video.stage,
            enhanced_prompt=None if enhancement is None else enhancement.enhanced_prompt,
            enhancement=None
            if enhancement is None
            else Enhancement.model_validate(enhancement.model_dump(exclude={"prompt", "enhanced_prompt"})),
            seed=request.seed,
            stage_two_seed=request.stage_two_seed,
            preview_id=video.parent_id if video.kind == "commit" else None,
            queue_position=position,
            eta_seconds=eta_s,
            stage_durations=_durations(video),
            sizes=ClipSizes(preview=str(preview), video=str(final)),
            num_frames=request.stage_one.num_frames,
            fps=fps,
        ),
    )


def _queue(service: Service, video: VideoRecord) -> tuple[int | None, float | None]:
    """How many wait before a video, and the seconds until it is ready."""
    if video.state in ("completed", "failed"):
        return None, None
    of_stages = paces(service, video.kind)
    position = queue_position(service.engine, video)
    work_s = work_seconds(service, video.request, of_stages)
    eta_s = eta_seconds(work_s, video.progress, position, of_stages[video.stage])
    return position, None if eta_s is None else round(eta_s, 1)


def _durations(video: VideoRecord) -> dict[Stage, float]:
    ran = stages_of(video.kind)
    records = {"stage_one": video.preview, "stage_two": video.video}
    return {stage: round(record.device_seconds, 3) for stage in ran if (record := records[stage]) is not None}


def _error(video: VideoRecord) -> VideoError | None:
    if video.state != "failed":
        return None
    return VideoError(code=video.error_code or "internal_error", message=video.error_message or "the video failed")
