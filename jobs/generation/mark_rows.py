"""What a run's folder says of rows that are not made: their errors, and who was at work on them.

ROOT/rows/KK/KEY/error.json          why a row is given up; put where none is
                 begun-STAGE-...     somebody is making it, or died while doing so
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated
from uuid import uuid4

from pydantic import AwareDatetime, Field, ValidationError

from fv_ray.artifact_store import Stage
from fv_ray.blobs import Blobs
from fv_ray.checkpoint import explain
from fv_ray.errors import StorageError
from fv_ray.types import Value
from jobs.generation.ask_store import ask

ERROR_FILE = "error.json"
_BEGUN = "begun-"
_OF_THE_REQUEST = ("input_error", "numerical_error")


class RowError(Value):
    """Why a row is given up."""

    stage: Stage
    code: str
    message: str
    attempts: Annotated[int, Field(ge=1)]
    node: str
    created_at: AwareDatetime

    @property
    def is_retryable(self) -> bool:
        """Whether --retry-errors may make it: what the request alone decides would only come again."""
        return self.code not in _OF_THE_REQUEST


class RowMarks:
    """Of one run."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def give_up(self, key: str, error: RowError) -> None:
        """Note an error of a row, unless there is one."""
        ask(self._blobs.create, f"{_folder(key)}/{ERROR_FILE}", error.model_dump_json().encode())

    def error(self, key: str) -> RowError | None:
        """Of a row.

        Raises:
            StorageError: it is not understood.
        """
        path = f"{_folder(key)}/{ERROR_FILE}"
        content = ask(self._blobs.read, path)
        try:
            return None if content is None else RowError.model_validate_json(content)
        except ValidationError as error:
            raise StorageError(
                f"{path} is not understood ({explain(error)}); remove it, and the row is tried"
            ) from error

    @contextmanager
    def begun(self, key: str, stage: Stage) -> Iterator[None]:
        """Say that a row is being made; a process that is killed meanwhile leaves the mark."""
        path = f"{_folder(key)}/{_BEGUN}{stage}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:12]}"
        ask(self._blobs.create, path, b"{}", is_durable=False)  # lost with a machine's power, it costs a count
        try:
            yield
        finally:
            ask(self._blobs.remove, path)

    def read_all(self) -> tuple[set[str], Counter[str]]:
        """Keys of rows with an error, and how many times each key was begun and not ended."""
        failed: set[str] = set()
        begun: Counter[str] = Counter()
        for path in ask(self._blobs.files, "rows"):
            place = PurePosixPath(path)
            if place.name == ERROR_FILE:
                failed.add(place.parent.name)
            elif place.name.startswith(_BEGUN):
                begun[place.parent.name] += 1
        return failed, begun

    def forget_error(self, key: str) -> None:
        """Let a row be tried again."""
        ask(self._blobs.remove, f"{_folder(key)}/{ERROR_FILE}")

    def forget_begun(self, key: str) -> None:
        """Remove what killed processes left of a row that is done."""
        for path in ask(self._blobs.files, _folder(key)):
            if PurePosixPath(path).name.startswith(_BEGUN):
                ask(self._blobs.remove, path)


def _folder(key: str) -> str:
    return f"rows/{key[:2]}/{key}"
