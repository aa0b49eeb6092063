"""What clients may send of files and batches: OpenAI's fields. An unknown field is an error that names it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from deployments.database.batch_records import Purpose
from deployments.http.bodies import Body

VIDEOS_URL = "/v1/videos"
COMMIT_URL = r"/v1/videos/(?P<preview_id>[A-Za-z0-9_-]{1,64})/commit"
MAX_METADATA = 16

AnId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(max_length=512)]


def _require_few(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > MAX_METADATA:
        raise ValueError(f"it has {len(metadata)} entries; allowed are {MAX_METADATA}; give fewer")
    return metadata


Metadata = Annotated[
    dict[Label, Text], AfterValidator(_require_few), Field(json_schema_extra={"maxProperties": MAX_METADATA})
]


class ExpiresAfter(Body):
    """How long a file is kept."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3_600, le=2_592_000)]
    """From an hour to 30 days."""


class UploadBody(Body):
    """The fields beside an uploaded file."""

    purpose: Annotated[Literal["batch"], Field(description="The file is a batch's input: one JSON object a line.")]
    expires_after: ExpiresAfter | None = None


class UploadForm(UploadBody):
    """A file with its fields, as the document tells it."""

    file: bytes


class BatchBody(Body):
    """A batch to run."""

    input_file_id: AnId
    endpoint: Literal["/v1/videos"]
    completion_window: Annotated[
        str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}h$"), Field(description="Whole hours: 24h.")
    ]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class LineBody(Body):
    """A line of an input file."""

    custom_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: Annotated[str, StringConstraints(pattern=f"^({VIDEOS_URL}|{COMMIT_URL.replace('?P<preview_id>', '?:')})$")]
    """/v1/videos, or /v1/videos/ID/commit."""
    body: dict[str, Any]


class PageQuery(Body):
    """Which batches are listed: the newest first."""

    model_config = ConfigDict(strict=False)

    after: AnId | None = None
    """The last one of the page before."""
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class FilesQuery(Body):
    """Which files are listed."""

    model_config = ConfigDict(strict=False)

    purpose: Purpose | None = None
    after: AnId | None = None
    """The last one of the page before."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    order: Literal["asc", "desc"] = "desc"
    """By creation."""
