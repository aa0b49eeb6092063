"""A video's events as server-sent events: those behind `Last-Event-ID`, then each as it comes, until the last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from deployments.config import Limits
from deployments.database.events import events_after
from deployments.database.records import DatabaseUnavailable, Event, NotThere, VideoRecord
from deployments.database.videos import read
from deployments.http.errors import ApiError, retry_after
from deployments.http.openapi import EVENTS, VideoId
from deployments.http.service import TENANT, Service, TheService

router = APIRouter()

LOOK_EVERY_S = 0.5
PING_EVERY_S = 15
RECONNECT_MS = 2000
FULL_RETRY_S = 5.0

LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**31 - 1)]


@router.get(
    "/v1/videos/{video_id}/events",
    summary="Follow a video",
    response_class=EventSourceResponse,
    responses=EVENTS,
    tags=["videos"],
)
async def follow(
    request: Request, service: TheService, video_id: VideoId, last_event_id: LastEventId = None
) -> Response:
    """Server-sent events, from the first or behind `Last-Event-ID`; the stream ends with the video.

    204 where nothing comes any more: browsers then ask no more.
    """
    video, events = await run_in_threadpool(_look, service, video_id, last_event_id or 0)
    if not events and _has_ended(video):
        return Response(status_code=204)
    streams: EventStreams = request.app.state.event_streams
    streams.check()
    told = streams.counted(_events(service, video_id, last_event_id or 0))
    return EventSourceResponse(told, ping=PING_EVERY_S, headers={"cache-control": "no-store"})


class EventStreams:
    """How many streams this process sends: each takes a place of its replica for as long as a video takes."""

    def __init__(self, limits: Limits) -> None:
        self.most, self.num_open = limits.max_event_streams, 0

    def check(self) -> None:
        """Refuse one more, where there are as many as may be. Raises: ApiError."""
        if self.num_open >= self.most:
            message = f"{self.num_open} streams of events are open, as many as may be; look at the video instead"
            raise ApiError(503, "overloaded", message, headers=retry_after(FULL_RETRY_S))

    async def counted(self, events: AsyncIterator[ServerSentEvent]) -> AsyncIterator[ServerSentEvent]:
        """The same events, counted as open until the stream ends or its client goes."""
        self.num_open += 1
        try:
            async for event in events:
                yield event
        finally:
            self.num_open -= 1


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
