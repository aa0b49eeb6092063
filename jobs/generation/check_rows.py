"""A raw row to a complete request with its keys, or to the problem why there is none.

All of this happens before the first device is asked for. A row means the same wherever it stands in its table: what it
does not say comes from the command and the checkpoint, its seed from its id.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from fv_ray.checkpoint import CheckpointInfo, Preset, shortened
from fv_ray.errors import InputError, SizeRefused
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import MAX_PROMPT_CHARACTERS, Value, VideoRequest
from fv_ray.work_key import stage_one_work_key, stage_two_work_key
from fv_ray.works import ENCODING
from jobs.generation.read_batch import is_batch_line
from jobs.generation.read_lines import Problem, RawRow
from jobs.generation.size_rows import size_row
from jobs.generation.type_fields import SAMPLINGS, RowRefused, plain_fields

MAX_ID_CHARACTERS = 256
_log = logging.getLogger(__name__)


Makes = Literal["videos", "previews"]


class Asking(Value):
    """What the command says of every row."""

    preset: str | None = None
    stage_one: dict[str, Any] = Field(default_factory=dict)
    """Changes of the preset's parameters."""
    stage_two: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    """Of the run: seeds of rows that say none come from it and their id."""
    salt: str = ""
    """Of the works' keys."""
    makes: Makes = "videos"


class Row(Value):
    """A row of the input, checked."""

    number: int
    """Its position in the input, from 0."""
    place: str
    id: str
    request: VideoRequest | None = None
    """Of what the model reads."""
    enhancement: Enhanced | None = None
    """Of the row's own prompt, where prompts are enhanced."""
    preview_key: str = ""
    """Stage one's work key."""
    key: str = ""
    """Of what the row asks for: equal keys are made once."""
    problem: Problem | None = None


def check_rows(
    rows: Iterable[RawRow], asking: Asking, checkpoint: CheckpointInfo, ignored: frozenset[str] = frozenset()
) -> Iterator[Row]:
    """Check each row; of two with one given id the second is refused.

    Args:
        rows: of the input, in order.
        asking: what holds for all.
        checkpoint: that is to make them.
        ignored: columns that are passed over.
    """
    ids: set[bytes] = set()
    for number, raw in enumerate(rows):
        told_id = _told_id(raw)
        try:
            if raw.problem is not None:
                raise RowRefused(raw.problem.code, raw.problem.message)
            fields = plain_fields(raw, ignored, makes_previews=asking.makes == "previews")
            given_id = _checked_id(fields.get("id"), ids)
            yield _row(number, raw, given_id, fields, asking, checkpoint)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's alone
            yield Row(number=number, place=raw.place, id=told_id, problem=problem_of(error, raw))


def problem_of(error: Exception, raw: RawRow) -> Problem:
    """What a row's check has raised, for the table of errors; what nobody foresaw is logged too."""
    if isinstance(error, RowRefused):
        return error.problem
    _log.error("the check of row %s failed", raw.place, exc_info=error)
    told = f"the check of the row failed ({type(error).__name__}: {shortened(str(error), 200)})"
    return Problem("unexpected_error", f"{told}; no row may do that: write it otherwise, and report it")


def with_keys(row: Row, request: VideoRequest, checkpoint_digest: str, asking: Asking) -> Row:
    """A row of a request that a preview is to be made for."""
    preview_key = stage_one_work_key(request, checkpoint_digest, salt=asking.salt)
    key = row_key(request, preview_key, checkpoint_digest, asking)
    return row.model_copy(update={"request": request, "preview_key": preview_key, "key": key})


def row_key(request: VideoRequest, preview_key: str, checkpoint_digest: str, asking: Asking) -> str:
    """A row's key, which stands before there is a preview: in a video's, the preview's key is in its digest's place."""
    if asking.makes == "previews":
        return preview_key
    return stage_two_work_key(
        request, checkpoint_digest, preview_sha256=preview_key, encoding=ENCODING, salt=asking.salt
    )


def derived_seed(run_seed: int, row_id: str) -> int:
    """The first 63 bits of SHA-256 over `fv-ray/row/RUN_SEED/ROW_ID`."""
    digest = hashlib.sha256(f"fv-ray/row/{run_seed}/{row_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _row(
    number: int, raw: RawRow, given_id: str, fields: Mapping[str, Any], asking: Asking, checkpoint: CheckpointInfo
) -> Row:
    row_id = given_id or _content_id(fields)
    changes: dict[str, dict[str, Any]] = {
        stage: {**getattr(asking, stage), **{name: fields[f"{stage}.{name}"] for name in _names_of(stage, fields)}}
        for stage in SAMPLINGS
    }
    if "num_frames" in fields:
        if "stage_one.num_frames" in fields:
            raise RowRefused("invalid_value", "num_frames and stage_one.num_frames say the same; give one of them")
        changes["stage_one"]["num_frames"] = fields["num_frames"]
    preset = fields.get("preset", asking.preset)
    try:
        usual = _usual(checkpoint.preset(preset), asking)
        sized = size_row(fields, usual, checkpoint, is_batch_line=is_batch_line(raw.fields))
        request = checkpoint.request(
            _checked_prompt(fields.get("prompt")),
            seed=fields.get("seed", derived_seed(asking.seed, row_id)),
            preset=preset,
            **{stage: {**changes[stage], **sized.get(stage, {})} for stage in SAMPLINGS},
        )
    except SizeRefused as error:
        raise RowRefused(error.code, str(error)) from None
    except InputError as error:
        raise RowRefused("invalid_value", str(error)) from None
    return with_keys(Row(number=number, place=raw.place, id=row_id), request, checkpoint.digest, asking)


def _usual(preset: Preset, asking: Asking) -> Preset:
    return Preset(**{stage: getattr(preset, stage).model_copy(update=getattr(asking, stage)) for stage in SAMPLINGS})


def _names_of(stage: str, fields: Mapping[str, Any]) -> list[str]:
    return [name.partition(".")[2] for name in fields if name.startswith(f"{stage}.")]


def _checked_prompt(prompt: str | None) -> str:
    if prompt is None:
        raise RowRefused("prompt_missing", "the row has no prompt; it must have one: describe the scene")
    if not prompt.strip():
        raise RowRefused("prompt_empty", "the prompt is empty; it must say something: describe the scene")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        told = f"the prompt has {len(prompt)} characters; allowed are {MAX_PROMPT_CHARACTERS}: shorten it"
        raise RowRefused("prompt_too_long", told)
    return prompt


def _checked_id(given: str | None, ids: set[bytes]) -> str:
    if given is None:
        return ""
    if not 1 <= len(given) <= MAX_ID_CHARACTERS or not given.isprintable():
        told = f"the id is {shortened(given)}; allowed are 1 to {MAX_ID_CHARACTERS} printable characters: give another"
        raise RowRefused("invalid_id", told)
    digest = hashlib.sha256(given.encode()).digest()[:16]
    if digest in ids:
        raise RowRefused("duplicate_id", f"the id {shortened(given)} is there twice; ids must differ: give another")
    ids.add(digest)
    return given


def _told_id(raw: RawRow) -> str:
    """What a row that cannot be made calls itself, for the table of errors."""
    told = raw.fields.get("id", raw.fields.get("custom_id"))
    return shortened(told)[1:-1] if isinstance(told, str) else ""


def _content_id(fields: Mapping[str, Any]) -> str:
    """Of a row without an id: equal rows have the same, wherever they stand."""
    return hashlib.sha256(json.dumps(dict(sorted(fields.items()))).encode()).hexdigest()[:16]
