"""The videos: make, list, look at, remix, commit, cancel, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from deployments.database.acceptance import first_of_key
from deployments.database.records import NewVideo, NotThere, VideoRecord
from deployments.database.videos import cancel, delete, list_videos, read
from deployments.http import new_videos
from deployments.http.admission import enqueue
from deployments.http.bodies import CommitBody, CreateBody, ListQuery, RemixBody
from deployments.http.enhancing import enhanced_video
from deployments.http.errors import unknown_after
from deployments.http.estimate import poll_after_ms
from deployments.http.forms import read_body
from deployments.http.openapi import CREATES, LISTS, READS, IdempotencyKey, VideoId, request_body
from deployments.http.service import TENANT, Service, TheService
from deployments.http.video_object import VideoDeleted, VideoList, VideoObject, video_object

router = APIRouter(tags=["videos"])


async def _create_body(request: Request) -> CreateBody:
    return await read_body(request, CreateBody)


async def _remix_body(request: Request) -> RemixBody:
    return await read_body(request, RemixBody)


async def _commit_body(request: Request) -> CommitBody:
    return await read_body(request, CommitBody) if await request.body() else CommitBody()


@router.post("/v1/videos", summary="Make a video", responses=CREATES, openapi_extra=request_body(CreateBody))
async def create(
    service: TheService,
    reply: Response,
    body: Annotated[CreateBody, Depends(_create_body)],
    key: IdempotencyKey = None,
) -> VideoObject:
    """A video, or with the model `flashvideo-preview` a preview. It is queued when this returns, and cannot be lost."""
    if first := await run_in_threadpool(_replayed, service, reply, key, "create", body):
        return first
    new = await run_in_threadpool(new_videos.created, service, body, key)
    new = await enhanced_video(service, new, body.flashvideo.enhance_prompt)
    return await run_in_threadpool(_enqueue, service, reply, new)


@router.get("/v1/videos", summary="List videos", responses=LISTS)
def list_(service: TheService, query: Annotated[ListQuery, Query()]) -> VideoList:
    """By creation."""
    try:
        page = list_videos(service.engine, TENANT, after=query.after, limit=query.limit, order=query.order)
    except NotThere:
        raise unknown_after(query.after) from None
    data = [video_object(service, video, with_queue=False) for video in page.videos]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return VideoList(data=data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/v1/videos/{video_id}", summary="Look at a video", responses=READS)
async def retrieve(service: TheService, reply: Response, video_id: VideoId) -> VideoObject:
    """Its state, with `openai-poll-after-ms`: when to look again."""
    # What is asked most: one thread for all of it. FastAPI takes a second one to check what a plain function gives.
    return await run_in_threadpool(lambda: _told(service, reply, read(service.engine, TENANT, video_id)))


@router.delete("/v1/videos/{video_id}", summary="Delete a video", responses=READS)
def delete_(service: TheService, video_id: VideoId) -> VideoDeleted:
    """It is cancelled if it has not ended, and shown no more; its files are removed soon after."""
    return VideoDeleted(id=delete(service.engine, TENANT, video_id).id)


@router.post(
    "/v1/videos/{video_id}/remix",
    summary="Make the same video with an edited prompt",
    responses=CREATES,
    openapi_extra=request_body(RemixBody),
)
async def remix(
    service: TheService,
    reply: Response,
    video_id: VideoId,
    body: Annotated[RemixBody, Depends(_remix_body)],
    key: IdempotencyKey = None,
) -> VideoObject:
    """Parameters and seed stay, so that the edit is what changes. Of a preview it is a preview, else a full video."""
    if first := await run_in_threadpool(_replayed, service, reply, key, f"remix {video_id}", body):
        return first
    video = await run_in_threadpool(read, service.engine, TENANT, video_id)
    new = await run_in_threadpool(new_videos.remixed, service, video, body, key)
    new = await enhanced_video(service, new, body.flashvideo.enhance_prompt)
    return await run_in_threadpool(_enqueue, service, reply, new)


@router.post(
    "/v1/videos/{video_id}/commit",
    summary="Make the video of a preview",
    responses=CREATES,
    openapi_extra=request_body(CommitBody, is_required=False),
)
def commit(
    service: TheService,
    reply: Response,
    video_id: VideoId,
    body: Annotated[CommitBody, Depends(_commit_body)],
    key: IdempotencyKey = None,
) -> VideoObject:
    """Stage two alone, on exactly this preview. The same commit twice is one video, also without an idempotency key."""
    if first := _replayed(service, reply, key, f"commit {video_id}", body):
        return first
    preview = read(service.engine, TENANT, video_id)
    return _enqueue(service, reply, new_videos.committed(service, preview, body, key))


@router.post("/v1/videos/{video_id}/cancel", summary="Cancel a video", responses=READS)
def cancel_(service: TheService, reply: Response, video_id: VideoId) -> VideoObject:
    """A queued one ends at once, a running one after its step, as failed with error.code cancelled.

    One that has ended stays as it is.
    """
    return _told(service, reply, cancel(service.engine, TENANT, video_id))


def _replayed(service: Service, reply: Response, key: str | None, what: str, body: BaseModel) -> VideoObject | None:
    """What the same request got under its key, whatever its parent, the limits and the checkpoint have become since."""
    if key is None:
        return None
    request_hash = new_videos.hash_of(what, body)
    first = first_of_key(service.engine, TENANT, new_videos.client_key(key), request_hash)
    return None if first is None else _replay(service, reply, first)


def _enqueue(service: Service, reply: Response, new: NewVideo) -> VideoObject:
    accepted = enqueue(service, new)
    return (_replay if accepted.is_replay else _told)(service, reply, accepted.video)


def _replay(service: Service, reply: Response, video: VideoRecord) -> VideoObject:
    reply.headers["idempotent-replayed"] = "true"
    return _told(service, reply, video)


def _told(service: Service, reply: Response, video: VideoRecord) -> VideoObject:
    told = video_object(service, video)
    reply.headers["openai-poll-after-ms"] = str(poll_after_ms(told.flashvideo.eta_seconds))
    return told
