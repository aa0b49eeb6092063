"""A video's files as downloads: bytes in ranges, or a link to the object store where that is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from deployments.database.records import VideoRecord
from deployments.database.videos import read
from deployments.http.byte_ranges import Selection, select_bytes
from deployments.http.errors import ApiError, conflict
from deployments.http.new_videos import expired
from deployments.http.openapi import CONTENT, VideoId
from deployments.http.service import TENANT, Service, TheService
from fv_ray.artifact_store import Artifact, StageRecord

router = APIRouter()

Variant = Literal["video", "thumbnail", "spritesheet", "preview"]
SUFFIXES: dict[Variant, str] = {
    "video": ".mp4",
    "thumbnail": ".webp",
    "spritesheet": "_sheet.webp",
    "preview": ".mp4",
}


@router.get(
    "/v1/videos/{video_id}/content",
    summary="Download a video, its thumbnail or contact sheet, or its preview",
    response_class=Response,
    responses=CONTENT,
    tags=["videos"],
)
def download(
    service: TheService,
    request: Request,
    video_id: VideoId,
    variant: Annotated[
        Variant, Query(description="Of a preview, video is the preview. Pictures are of the latest stage that is done.")
    ] = "video",
) -> Response:
    """The file itself: `Range`, `If-Range`, `If-Match` and `If-None-Match` are obeyed."""
    video = read(service.engine, TENANT, video_id)
    file_name = f"{video.id}{'_preview' if variant == 'preview' else ''}{SUFFIXES[variant]}"
    return send_file(service, request, find_artifact(video, variant), file_name)


def send_file(service: Service, request: Request, artifact: Artifact, file_name: str) -> Response:
    """A stored file as a download, of the bytes that the request asks for, or a link to it.

    Raises:
        ApiError: it has no such bytes, or is another than the client wants.
    """
    if (url := _signed(service, artifact, file_name)) is not None:
        return RedirectResponse(url, 302, {"cache-control": "no-store"})
    etag = f'"{artifact.sha256}"'
    selection = select_bytes(request.headers, etag, artifact.num_bytes)
    headers = {"etag": etag, "accept-ranges": "bytes", "cache-control": "private, no-cache"}
    if selection.status == 304:
        return Response(status_code=304, headers=headers)
    _require_bytes(selection, artifact)
    headers |= {
        "content-length": str(selection.end - selection.start),
        "content-disposition": f'attachment; filename="{file_name}"',
        "x-content-type-options": "nosniff",
    }
    if selection.status == 206:
        headers["content-range"] = f"bytes {selection.start}-{selection.end - 1}/{artifact.num_bytes}"
    chunks = service.store.read_range(artifact, selection.start, selection.end)
    return StreamingResponse(chunks, selection.status, headers, artifact.media_type)


def find_artifact(video: VideoRecord, variant: Variant) -> Artifact:
    """The file that a variant names.

    Raises:
        ApiError: it is not there yet, never will be, or is kept no longer.
    """
    record = _record(video, variant)
    if record is None:
        if video.state == "failed":
            raise conflict("video_failed", f"video {video.id} has failed; it has no {variant}")
        if video.state == "completed":
            raise expired(video)
        raise conflict("video_not_ready", f"video {video.id} is {video.state}; ask again when {variant} is there")
    name = f"{'preview' if record.stage == 'stage_one' else 'video'}{SUFFIXES[variant]}"
    return record.artifacts[name]


def _record(video: VideoRecord, variant: Variant) -> StageRecord | None:
    """Of the stage that made a variant; pictures are of the latest that is done."""
    if variant == "preview" or video.kind == "preview":
        return video.preview
    if variant == "video":
        return video.video
    return video.video or video.preview


def _signed(service: Service, artifact: Artifact, file_name: str) -> str | None:
    seconds = service.config.signed_url_s
    return None if seconds is None else service.store.sign(artifact, max(1, int(seconds)), file_name=file_name)


def _require_bytes(selection: Selection, artifact: Artifact) -> None:
    if selection.status == 412:
        raise ApiError(412, "precondition_failed", "the file is not the one that If-Match names; get it again")
    if selection.status == 416:
        message = f"the file has {artifact.num_bytes} bytes, none of them in the range; ask for bytes that it has"
        headers = {"content-range": f"bytes */{artifact.num_bytes}"}
        raise ApiError(416, "range_not_satisfiable", message, headers=headers)
