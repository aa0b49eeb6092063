"""A table of chosen previews of an earlier run to rows whose videos are made of exactly those previews.

The table has the column `id`; it may change what stage two does: `prompt`, `seed` (stage two's) and `stage_two.NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import CheckpointInfo, explain, shortened
from fv_ray.errors import InputError, StorageError
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import VideoRequest
from jobs.generation.ask_store import ask
from jobs.generation.begin_run import SUCCESS_FILE, look_at
from jobs.generation.check_rows import MAX_ID_CHARACTERS, Asking, Row, problem_of, row_key
from jobs.generation.read_lines import RawRow
from jobs.generation.read_prompts import find_tables, read_prompts
from jobs.generation.type_fields import COLUMNS, RowRefused, plain_fields
from jobs.generation.write_manifest import read_enhancement

_CHANGES = ("prompt", "seed")
_COLUMNS = ["id", "prompt", "request", "preview_work_key", "enhanced_prompt", "enhancement"]


@dataclass(frozen=True)
class _MadePreview:
    work_key: str
    request: str
    enhancement: Enhanced | None


def choose_previews(
    run_url: str, source: str, asking: Asking, checkpoint: CheckpointInfo, ignored: frozenset[str]
) -> Iterator[Row]:
    """A row for each that the table has.

    Raises:
        InputError: there is no table, or the command asks for other previews.
        StorageError: the run is not finished, or is of another checkpoint.
    """
    _refuse_other_previews(asking)
    table = find_tables(source)
    told = (str(raw.fields.get(name)) for raw in read_prompts(table, COLUMNS) for name in ("id", "custom_id"))
    chosen = {row_id for row_id in told if len(row_id) <= MAX_ID_CHARACTERS}
    chooser = _Chooser(asking, checkpoint, ignored, _previews(open_blobs(run_url), checkpoint, chosen))
    for number, raw in enumerate(read_prompts(table, COLUMNS)):
        try:
            yield chooser.row(number, raw)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's alone
            row_id = shortened(raw.fields.get("id", ""))[1:-1]
            yield Row(number=number, place=raw.place, id=row_id, problem=problem_of(error, raw))


def _refuse_other_previews(asking: Asking) -> None:
    given = {
        "--preset": asking.preset is not None,
        "--set stage_one.NAME": bool(asking.stage_one),
        "--seed": asking.seed != 0,
    }
    if options := [option for option, is_given in given.items() if is_given]:
        told = f"{options[0]} is given with --from-previews; previews stay as they are, --set stage_two.NAME is allowed"
        raise InputError(f"{told}: leave {options[0]} out")


class _Chooser:
    def __init__(
        self,
        asking: Asking,
        checkpoint: CheckpointInfo,
        ignored: frozenset[str],
        previews: Mapping[str, _MadePreview],
    ) -> None:
        self._asking, self._checkpoint, self._ignored = asking, checkpoint, ignored
        self._previews = previews
        self._seen: set[str] = set()

    def row(self, number: int, raw: RawRow) -> Row:
        """A checked row; raises RowRefused."""
        if raw.problem is not None:
            raise RowRefused(raw.problem.code, raw.problem.message)
        fields = plain_fields(raw, self._ignored, makes_previews=False)
        row_id = fields.pop("id", "")
        if row_id not in self._previews:
            told = f"there is no preview of id {shortened(row_id)}; ids of the run are allowed: see its manifest"
            raise RowRefused("preview_unknown", told)
        if row_id in self._seen:
            raise RowRefused("duplicate_id", f"the id {shortened(row_id)} is there twice; leave one of them out")
        self._seen.add(row_id)
        made = self._previews[row_id]
        changed = self._changed(VideoRequest.model_validate_json(made.request), fields)
        return Row(
            number=number,
            place=raw.place,
            id=row_id,
            request=changed,
            enhancement=None if "prompt" in fields else made.enhancement,  # another prompt is taken as it is
            preview_key=made.work_key,
            key=row_key(changed, made.work_key, self._checkpoint.digest, self._asking),
        )

    def _changed(self, request: VideoRequest, fields: Mapping[str, Any]) -> VideoRequest:
        names = {name: name.removeprefix("stage_two.") for name in fields}
        if other := [name for name in fields if name not in _CHANGES and not name.startswith("stage_two.")]:
            told = f"{other[0]} cannot be changed; allowed are prompt, seed and stage_two.NAME"
            raise RowRefused("unknown_field", f"{told}: a preview stays as it is, leave it out")
        changes = {inner: fields[name] for name, inner in names.items() if name != "prompt"}
        stage_two = {**request.stage_two.model_dump(), **self._asking.stage_two, **changes}
        wanted = {**request.model_dump(), "stage_two": stage_two}
        try:
            changed = VideoRequest.model_validate(
                wanted | {name: fields[name] for name in ("prompt",) if name in fields}
            )
            self._checkpoint.check(changed)
        except ValidationError as error:
            raise RowRefused("invalid_value", explain(error)) from None
        except InputError as error:
            raise RowRefused("invalid_value", str(error)) from None
        return changed


def _previews(blobs: Blobs, checkpoint: CheckpointInfo, chosen: Set[str]) -> dict[str, _MadePreview]:
    """Those of a run that are chosen, by id; of the others, a part of the manifest is in memory at a time."""
    note, success = look_at(blobs).note, ask(blobs.read, SUCCESS_FILE)
    if note is None or success is None:
        raise StorageError(f"{blobs} has no {SUCCESS_FILE}; a finished run is allowed: finish it, then choose")
    if note.settings.checkpoint_digest != checkpoint.digest:
        told = f"{blobs} is of checkpoint {note.settings.checkpoint_digest}, not of {checkpoint.digest}"
        raise StorageError(f"{told}; a preview and its video are of one: give the run's checkpoint")
    found: dict[str, _MadePreview] = {}
    for path in json.loads(success)["parts"]:
        if path.startswith("manifest/"):
            table = pq.ParquetFile(BytesIO(ask(blobs.read, path) or b"")).read(columns=_COLUMNS)  # those that are there
            found |= {
                row["id"]: _MadePreview(row["preview_work_key"], row["request"], read_enhancement(row))
                for row in table.to_pylist()
                if row["id"] in chosen and row["preview_work_key"] is not None
            }
    return found
