"""A row of a run to what a data set says of its clip: what was asked for, what made it, and its digest.

The same in every layout, and the same bytes for the same rows: no times, no names of machines.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from fv_ray.artifact_store import Artifact
from jobs.exporting.read_run import Run, RunRow
from jobs.generation.write_manifest import MANIFEST

_OF_MANIFEST = (
    "id",
    "row_number",
    "prompt",
    "enhanced_prompt",
    "seed",
    "stage_two_seed",
    "num_frames",
    "height",
    "width",
    "fps",
    "request",
    "preview_work_key",
    "video_work_key",
)
SAMPLE = pa.schema(
    [
        *(MANIFEST.field(name) for name in _OF_MANIFEST),
        pa.field("sha256", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("checkpoint_name", pa.string()),
        pa.field("checkpoint_digest", pa.string()),
        pa.field("dtype", pa.string()),
        pa.field("attention_backend", pa.string()),
        pa.field("numerics_version", pa.int32()),
        pa.field("fv_ray_version", pa.string()),
    ]
)
"""`request` is JSON: all parameters of both stages."""


def describe_sample(run: Run, row: RunRow, clip: Artifact) -> dict[str, Any]:
    """The columns of `SAMPLE`."""
    settings = run.note.settings
    return {name: row.line.get(name) for name in _OF_MANIFEST} | {
        "sha256": clip.sha256,
        "num_bytes": clip.num_bytes,
        "checkpoint_name": settings.checkpoint_name,
        "checkpoint_digest": settings.checkpoint_digest,
        "dtype": settings.dtype,
        "attention_backend": settings.attention_backend,
        "numerics_version": settings.numerics_version,
        "fv_ray_version": run.note.fv_ray_version,
    }
