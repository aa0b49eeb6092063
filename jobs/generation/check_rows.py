"""A raw row to a complete request with its keys, or to the problem why there is none.

All of this happens before the first device is asked for. A row means the same wherever it stands in its table: what it
does not say comes from the command and the checkpoint, its seed from its id.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field

from fv_ray.checkpoint import CheckpointInfo, Preset, shortened
from fv_ray.errors import InputError, SizeRefused
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import MAX_PROMPT_CHARACTERS, StageOneSampling, StageTwoSampling, Value, VideoRequest
from fv_ray.work_key import stage_one_work_key, stage_two_work_key
from fv_ray.works import ENCODING
from jobs.generation.read_batch import is_batch_line, read_batch_line
from jobs.generation.read_lines import Problem, RawRow
from jobs.generation.size_rows import size_row

SAMPLINGS: Mapping[str, type[BaseModel]] = {"stage_one": StageOneSampling, "stage_two": StageTwoSampling}


def _plain_type(annotation: Any) -> type:  # noqa: ANN401
    """int, float or str, of what a field is annotated with."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return type(inner[0])
    return _plain_type(inner[0]) if inner else annotation


_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("id", "prompt", "preset", "size", "seconds"), str),
    **dict.fromkeys(("seed", "num_frames"), int),
} | {
    f"{stage}.{name}": _plain_type(field.annotation)
    for stage, sampling in SAMPLINGS.items()
    for name, field in sampling.model_fields.items()
}
COLUMNS = frozenset({*_TYPES, *SAMPLINGS})
MAX_ID_CHARACTERS = 256
_NAMES = {int: "a whole number", float: "a number", str: "text"}


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


class RowRefused(Exception):
    """A row cannot be made; carries its problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


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
            fields = plain_fields(raw, asking, ignored)
            given_id = _checked_id(fields.get("id"), ids)
            yield _row(number, raw, given_id, fields, asking, checkpoint)
        except RowRefused as refusal:
            yield Row(number=number, place=raw.place, id=told_id, problem=refusal.problem)


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


def plain_fields(raw: RawRow, asking: Asking, ignored: frozenset[str]) -> dict[str, Any]:
    """The row's values by the names of `COLUMNS` with dots, each of its type; what is empty is left out.

    Raises:
        RowRefused: one is not known, or of another type.
    """
    written = {name: value for name, value in raw.fields.items() if name not in ignored}
    if is_batch_line(written):
        try:
            written = read_batch_line(written, makes_previews=asking.makes == "previews")
        except InputError as error:
            raise RowRefused("invalid_batch_line", str(error)) from None
    fields = {}
    for name, value in _flattened(written):
        if name not in _TYPES:
            told = (
                f"there is no field {shortened(name)}; allowed are id, prompt, seed, preset, size, seconds, num_frames,"
            )
            raise RowRefused(
                "unknown_field", f"{told} stage_one.NAME and stage_two.NAME: rename it, or give --ignore-column"
            )
        if value is None or (raw.has_text_only and value == "" and name != "prompt"):
            continue
        fields[name] = _typed(name, value, has_text_only=raw.has_text_only)
    return fields


def _flattened(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        if name in SAMPLINGS and isinstance(value, dict):
            yield from ((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())
        elif name in SAMPLINGS and value is None:
            continue
        elif name in SAMPLINGS:
            raise RowRefused(
                "wrong_type", f"{name} is {shortened(value)}; an object of parameters is allowed: write one"
            )
        else:
            yield name, value


def _typed(name: str, value: object, *, has_text_only: bool) -> object:
    wanted = _TYPES[name]
    if has_text_only and wanted is not str:
        value = _number(str(value).strip())
    if name in ("id", "seconds") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RowRefused("not_a_number", f"{name} is {value}; a finite number is allowed: leave it empty or give one")
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)  # a column of whole numbers with gaps in it
    fits = isinstance(value, (int, float) if wanted is float else wanted) and not isinstance(value, bool)
    if not fits:
        raise RowRefused("wrong_type", f"{name} is {shortened(value)}; {_NAMES[wanted]} is allowed: write it so")
    return value


def _number(text: str) -> int | float | str:
    """What a cell of text means; itself, where that is no number."""
    if re.fullmatch(r"[-+]?[0-9]{1,40}", text, re.ASCII):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


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


def read_changes(pairs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Parameters of both stages, of what a person wrote as `stage_one.NAME` and `stage_two.NAME`.

    Raises:
        InputError: there is no such parameter, or it is of another type.
    """
    changes: dict[str, dict[str, Any]] = {stage: {} for stage in SAMPLINGS}
    for name, text in pairs.items():
        stage, _, inner = name.partition(".")
        if name not in _TYPES or stage not in changes:
            known = ", ".join(known for known in _TYPES if "." in known)
            raise InputError(f"there is no parameter {shortened(name)}; allowed are {known}: give one of them")
        try:
            changes[stage][inner] = _typed(name, text, has_text_only=True)
        except RowRefused as refusal:
            raise InputError(str(refusal)) from None
    return changes
