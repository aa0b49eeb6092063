"""A video's events as server-sent events: those behind `Last-Event-ID`, then each as it comes, until the last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from deployments.database.events import events_after
from deployments.database.records import DatabaseUnavailable, Event, NotThere, VideoRecord
from deployments.database.videos import read
from deployments.http.openapi import EVENTS, VideoId
from deployments.http.service import TENANT, Service, TheService

router = APIRouter()

LOOK_EVERY_S = 0.5
PING_EVERY_S = 15
RECONNECT_MS = 2000

LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**31 - 1)]


@router.get(
    "/v1/videos/{video_id}/events",
    summary="Follow a video",
    response_class=EventSourceResponse,
    responses=EVENTS,
    tags=["videos"],
)
async def follow(service: TheService, video_id: VideoId, last_event_id: LastEventId = None) -> Response:
    """Server-sent events, from the first or behind `Last-Event-ID`; the stream ends with the video.

    204 where nothing comes any more: browsers then ask no more.
    """
    video, events = await run_in_threadpool(_look, service, video_id, last_event_id or 0)
    if not events and _has_ended(video):
        return Response(status_code=204)
    return EventSourceResponse(
        _events(service, video_id, last_event_id or 0), ping=PING_EVERY_S, headers={"cache-control": "no-store"}
    )


async def _events(service: Service, video_id: str, number: int) -> AsyncIterator[ServerSentEvent]:
    """Until the video has ended; also where it is deleted or the database is down: a client then comes again."""
    while True:
        try:
            video, events = await run_in_threadpool(_look, service, video_id, number)
        except (NotThere, DatabaseUnavailable):
            return
        for event in events:
            number = event.number
            data = json.dumps({**event.data, "at": event.at})
            yield ServerSentEvent(data, event=event.type, id=str(number), retry=RECONNECT_MS)
        if _has_ended(video):
            return
        await asyncio.sleep(LOOK_EVERY_S)


def _has_ended(video: VideoRecord) -> bool:
    return video.state in ("completed", "failed")


def _look(service: Service, video_id: str, number: int) -> tuple[VideoRecord, list[Event]]:
    """The video first: the events of one that has ended are then all there."""
    video = read(service.engine, TENANT, video_id)
    return video, list(events_after(service.engine, TENANT, video_id, number))
