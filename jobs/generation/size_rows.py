"""What a row says of size and length to changes of both stages' parameters, by the service's own rules."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fv_ray.checkpoint import CheckpointInfo, Preset, explain
from fv_ray.errors import InputError
from fv_ray.sizes import Asked, asked_clip

_FORM = TypeAdapter(Asked)
_PLACE = "flashvideo."
"""Of our own parameters in the body of a batch line."""


def size_row(
    fields: Mapping[str, Any], usual: Preset, checkpoint: CheckpointInfo, *, is_batch_line: bool
) -> dict[str, dict[str, Any]]:
    """Changes of the parameters, by stage; none for a row of a table that says neither `size` nor `seconds`.

    Args:
        fields: of the row, by the names of its columns.
        usual: what holds where the row says nothing.
        checkpoint: that is to make it.
        is_batch_line: it means what it means to the service, whose previews follow their videos' size.

    Raises:
        InputError: one of them is not in its form.
        SizeRefused: something is said twice, or cannot be made.
    """
    if not is_batch_line and not fields.keys() & {"size", "seconds"}:
        return {}
    said = {
        **{name: fields[name] for name in ("size", "seconds") if name in fields},
        "num_frames": fields.get("num_frames", fields.get("stage_one.num_frames")),
        **{stage: _sides(fields, stage) for stage in ("stage_one", "stage_two")},
        "place": _PLACE if is_batch_line else "",
    }
    try:
        asked = _FORM.validate_python(said)
    except ValidationError as error:
        raise InputError(f"{explain(error)}; write 1920x1072 and 6") from None
    return asked_clip(asked, usual, checkpoint).changes()


def _sides(fields: Mapping[str, Any], stage: str) -> dict[str, int]:
    return {side: fields[f"{stage}.{side}"] for side in ("width", "height") if f"{stage}.{side}" in fields}
