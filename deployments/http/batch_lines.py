"""A line of a batch's input to a request as the routes would take it, and what became of it to a line of its output."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from deployments.database.batch_records import BatchRecord, BatchRow, InputFault, RowRefusal
from deployments.database.records import NewVideo, NotThere, VideoRecord
from deployments.database.videos import read
from deployments.http import new_videos
from deployments.http.admission import check_cost
from deployments.http.batch_bodies import COMMIT_URL, LineBody
from deployments.http.bodies import CommitBody, CreateBody
from deployments.http.enhancing import enhanced_video
from deployments.http.errors import ApiError, envelope, not_there, refused
from deployments.http.forms import check_fields, parse_json
from deployments.http.service import Service
from deployments.http.video_object import video_object
from fv_ray.errors import InputError
from fv_ray.prompts.enhancing import EnhancePrompt

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

NOT_MADE = {
    "expired": ("batch_expired", "the batch's completion window ended before this request; send it in another batch"),
    "cancelled": ("batch_cancelled", "the batch was cancelled before this request was done"),
}
VIDEO_DELETED = ("video_deleted", "the video was deleted before the batch had ended")


def parse_line(content: bytes) -> LineBody | InputFault:
    """A line of an input file, or what is wrong with it: its form alone, not its body."""
    try:
        fields = parse_json(content.removeprefix(BYTE_ORDER_MARK))
    except ApiError as error:
        return InputFault("invalid_json_line", error.message)
    try:
        return check_fields(fields, LineBody)
    except ApiError as error:
        code = f"invalid_{error.param}" if error.code == "invalid_value" else error.code
        return InputFault(code, error.message, param=error.param)


async def new_video(service: Service, batch: BatchRecord, line: int, content: bytes) -> NewVideo | RowRefusal:
    """The video of a row, its prompt enhanced, or what its route would answer. Blocks but for the enhancer.

    Raises:
        DatabaseUnavailable: the database cannot be asked.
    """
    parsed = parse_line(content)
    if isinstance(parsed, InputFault):
        return RowRefusal(400, parsed.code, parsed.message, parsed.param)
    try:
        asked, wanted = _asked_for(service, batch.tenant, parsed)
        check_cost(service, asked)
        key = f"batch/{batch.id}/{line}"
        new = replace(asked, tenant=batch.tenant, is_of_batch=True, idempotency_key=key)
        return await enhanced_video(service, new, wanted)
    except (ApiError, InputError) as error:
        told = refused(error) if isinstance(error, InputError) else error
        return RowRefusal(told.status, told.code, told.message, told.param)


def output_line(service: Service, batch: BatchRecord, row: BatchRow) -> tuple[bool, bytes]:
    """Whether a row was made, and its line of the output or the error file."""
    body: dict[str, Any] | None = None
    status, error = 200, None
    if row.refusal is not None:
        refusal = row.refusal
        status = refusal.status
        body = envelope(ApiError(status, refusal.code, refusal.message, param=refusal.param))
    elif row.state in ("waiting", "open", "withdrawn"):
        error = NOT_MADE[batch.outcome or "cancelled"]
    elif row.video is None:
        error = VIDEO_DELETED
    else:
        body = video_object(service, row.video, with_queue=False).model_dump(mode="json")
        error = _failure(row.video)
    line_id = f"{batch.id}-{row.line}"
    told = {
        "id": line_id,
        "custom_id": row.custom_id,
        "response": None if body is None else {"status_code": status, "request_id": line_id, "body": body},
        "error": None if error is None else {"code": error[0], "message": error[1]},
    }
    is_made = row.state == "completed" and row.video is not None
    return is_made, json.dumps(told, ensure_ascii=False).encode() + b"\n"


def _asked_for(service: Service, tenant: str, line: LineBody) -> tuple[NewVideo, EnhancePrompt | None]:
    if match := re.fullmatch(COMMIT_URL, line.url):
        try:
            preview = read(service.engine, tenant, match["preview_id"])
        except NotThere:
            raise not_there("video_id", match["preview_id"]) from None
        return new_videos.committed(service, preview, check_fields(line.body, CommitBody), None), "never"
    body = check_fields(line.body, CreateBody)
    return new_videos.created(service, body, None), body.flashvideo.enhance_prompt


def _failure(video: VideoRecord) -> tuple[str, str] | None:
    if video.state != "failed":
        return None
    return video.error_code or "failed", video.error_message or ""
