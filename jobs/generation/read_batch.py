"""A line of an OpenAI batch file to the fields of a row.

{"custom_id": "a", "method": "POST", "url": "/v1/videos", "body": {"prompt": ..., "flashvideo": {...}}}
"""

from collections.abc import Mapping
from typing import Any

from fv_ray.checkpoint import shortened
from fv_ray.errors import InputError

MODEL = "flashvideo"
PREVIEW_MODEL = "flashvideo-preview"
_BODY = ("prompt", "model", "seed", "size", "seconds", "flashvideo")
_OWN = ("seed", "preset", "num_frames", "stage_one", "stage_two")


def is_batch_line(fields: Mapping[str, object]) -> bool:
    """Whether a JSON object is a batch's, not a table's."""
    return "custom_id" in fields and "body" in fields


def read_batch_line(fields: Mapping[str, Any], *, makes_previews: bool) -> dict[str, object]:
    """The row's fields.

    Raises:
        InputError: the line asks for something else than a video of a prompt.
    """
    method, url, body = fields.get("method", "POST"), fields.get("url", "/v1/videos"), fields["body"]
    if (method, url) != ("POST", "/v1/videos") or not isinstance(body, dict):
        told = f"the line is {shortened(method)} {shortened(url)}"
        raise InputError(f"{told}; POST /v1/videos with an object as body is allowed: write it so")
    wanted = PREVIEW_MODEL if makes_previews else MODEL
    if body.get("model", wanted) != wanted:
        raise InputError(
            f"the model is {shortened(body['model'])}; this run makes {wanted}: give --preview-only or not"
        )
    own = body.get("flashvideo", {})
    if not isinstance(own, dict):
        raise InputError(f"flashvideo is {shortened(own)}; an object is allowed: write one")
    if unknown := [*(set(body) - {*_BODY}), *(set(own) - {*_OWN})]:
        told = f"{', '.join(_BODY)} with {', '.join(_OWN)}"
        raise InputError(f"the body has a field {shortened(sorted(unknown)[0])}; allowed are {told}: leave it out")
    if None not in (seeds := (body.get("seed"), own.get("seed"))) and seeds[0] != seeds[1]:
        raise InputError(
            f"two seeds are given, {shortened(seeds[0])} and {shortened(seeds[1])}; one is allowed: give one"
        )
    row = {"id": fields["custom_id"]} | {name: body.get(name) for name in ("prompt", "seed", "size", "seconds")}
    return row | {name: value for name, value in own.items() if value is not None}
