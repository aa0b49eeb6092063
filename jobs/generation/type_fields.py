"""What a row or an option says to values of their types, by the names of the columns; anything else is refused.

Knows nothing of checkpoints: what a value may be beyond its type is for `check_rows`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from fv_ray.checkpoint import shortened
from fv_ray.errors import InputError
from fv_ray.types import MAX_SEED, StageOneSampling, StageTwoSampling
from jobs.generation.read_batch import is_batch_line, read_batch_line
from jobs.generation.read_lines import Problem, RawRow

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
_NAMES = {int: "a whole number", float: "a number", str: "text"}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""JSON may name one; UTF-8 has none, so neither do keys and files."""


class RowRefused(Exception):
    """A row cannot be made; carries its problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


def plain_fields(raw: RawRow, ignored: frozenset[str], *, makes_previews: bool) -> dict[str, Any]:
    """The row's values by the names of `COLUMNS` with dots, each of its type; what is empty is left out.

    Raises:
        RowRefused: one is not known, or of another type.
    """
    written = {name: value for name, value in raw.fields.items() if name not in ignored}
    if is_batch_line(written):
        try:
            written = read_batch_line(written, makes_previews=makes_previews)
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
        value = int(value)  # a column of whole numbers with gaps in it
    fits = isinstance(value, (int, float) if wanted is float else wanted) and not isinstance(value, bool)
    if not fits:
        raise RowRefused("wrong_type", f"{name} is {shortened(value)}; {_NAMES[wanted]} is allowed: write it so")
    if isinstance(value, int) and abs(value) > MAX_SEED:  # no float holds some of those
        raise RowRefused(
            "invalid_value", f"{name} is {shortened(value)}; allowed is up to {MAX_SEED}: write a smaller one"
        )
    if isinstance(value, str) and name != "id" and _SURROGATE.search(value):
        told = f"{name} is {shortened(value)} and has half of a character; whole ones are allowed"
        raise RowRefused("invalid_value", f"{told}: write it again as UTF-8")
    return value


def _number(text: str) -> int | float | str:
    """What a cell of text means; itself, where that is no number."""
    if re.fullmatch(r"[-+]?[0-9]{1,40}", text, re.ASCII):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


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
