"""A finished run, made by the real stages without Ray."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fv_ray.artifact_store import ArtifactStore
from fv_ray.blobs import open_blobs
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.text_to_video import TextToVideo
from fv_ray.types import VideoRequest, with_prompt
from fv_ray.works import fetch, keep, preview_work, run_timed, video_work
from jobs.generation.begin_run import Settings, begin_run
from jobs.generation.check_rows import Asking, Makes, Row, check_rows, with_keys
from jobs.generation.find_ends import Ends
from jobs.generation.keep_rows import keep_rows
from jobs.generation.mark_rows import RowMarks
from jobs.generation.read_prompts import find_tables, read_prompts
from jobs.generation.type_fields import COLUMNS
from jobs.generation.write_manifest import write_manifest, write_success

PROMPTS = [
    {"id": "test/fox.v2", "prompt": "a red fox <script>alert('x')</script>"},
    {"id": "2024-01-01", "prompt": "ein Füchslein"},
    {"id": "empty", "prompt": ""},
    {"id": "again", "prompt": "ein Füchslein", "seed": 7},
    {"id": "and again", "prompt": "ein Füchslein", "seed": 7},
]
"""A row that is refused, and one that asks for what another does."""
SIZES = {
    "stage_one": {"num_inference_steps": 1, "num_frames": 5, "height": 16, "width": 32},
    "stage_two": {"num_inference_steps": 1, "height": 32, "width": 64},
}


def make_run(
    models: TextToVideo,
    folder: Path,
    makes: Makes = "videos",
    captions: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """The run's folder, in a new one; prompts of rows with captions, by id, were enhanced to them."""
    table, checkpoint = folder / "prompts.jsonl", models.checkpoint
    asking = Asking(**SIZES, makes=makes)
    table.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    raw = read_prompts(find_tables(str(table)), COLUMNS)
    checked = (
        _enhanced(row, captions[row.id], asking, checkpoint.digest) if row.id in captions else row
        for row in check_rows(raw, asking, checkpoint)
    )
    rows = keep_rows(checked, folder / "rows.jsonl")
    blobs = open_blobs(str(folder / "run"))
    settings = Settings(
        asking=asking,
        checkpoint_name=checkpoint.name,
        checkpoint_digest=checkpoint.digest,
        dtype=None,
        attention_backend="native",
        from_previews=None,
    )
    version = begin_run(blobs, str(table), settings, rows, extends=False)
    store = ArtifactStore(blobs, patience_s=0)
    for row in rows:
        if row.request is not None:
            _make(models, store, row.request, makes, folder / str(row.number))
    ends = Ends(store, store, RowMarks(blobs), makes, checkpoint.digest, asking.salt)
    write_success(blobs, version, write_manifest(blobs, ends.of(rows), version, checkpoint, folder))
    return folder / "run"


def _enhanced(row: Row, caption: str, asking: Asking, digest: str) -> Row:
    assert row.request is not None
    told = Enhanced(
        prompt=row.request.prompt,
        enhanced_prompt=caption,
        kind="openai",
        outcome="enhanced",
        motion="low",
        notes=("a",),
    )
    request = with_prompt(row.request, caption)
    return with_keys(row.model_copy(update={"enhancement": told}), request, digest, asking)


def _make(models: TextToVideo, store: ArtifactStore, request: VideoRequest, makes: Makes, folder: Path) -> None:
    given, preview_made, video_made = (folder / name for name in ("given", "preview", "video"))
    given.mkdir(parents=True)
    video_made.mkdir()
    work = preview_work(models.stage_one, request)
    run_timed(work.make, given, preview_made, lambda _: None)
    preview = keep(store, work.key, work.stage, preview_made, device="cpu", device_seconds=1)
    if makes == "videos":
        work = video_work(models.stage_two, request, preview)
        fetch(store, work.inputs, given)
        run_timed(work.make, given, video_made, lambda _: None)
        keep(store, work.key, work.stage, video_made, device="cpu", device_seconds=1)
