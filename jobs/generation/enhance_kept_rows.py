"""Rows to the same rows with enhanced prompts and the keys of those. Whatever is enhanced is kept before it is used.

ROOT/enhanced/KK/KEY.json   what became of a prompt with a seed; the first word stands, for every launch

So rows that share both are enhanced once, a launch that is killed loses what was at work and no more, and a language
model that answers otherwise the next time changes no row's key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import typer
from pydantic import ValidationError

from fv_ray.blobs import Blobs
from fv_ray.checkpoint import explain
from fv_ray.errors import StorageError
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.types import VideoRequest, with_prompt
from jobs.enhance_rows import Enhancer, PromptRow, enhance_rows
from jobs.generation.ask_store import ask
from jobs.generation.check_rows import Asking, Row, with_keys
from jobs.generation.find_ends import NUM_THREADS
from jobs.generation.keep_rows import KeptRows

ROWS_AT_ONCE = 20_000
"""In memory, and for one start of vLLM's engines: they answer so many in minutes, and start in one."""


def enhance_kept_rows(
    rows: KeptRows, enhancer: Enhancer, blobs: Blobs, checkpoint_digest: str, asking: Asking, file: Path
) -> KeptRows:
    """Enhance what is not enhanced yet.

    Args:
        rows: checked, of the prompts that were asked for; their digest stays, for it tells inputs apart.
        enhancer: always the same for a folder.
        blobs: the run's folder.
        checkpoint_digest: as the keys have it.
        asking: as the rows were checked with.
        file: a new file, for the rows.

    Raises:
        EnhancerUnavailable: it does not answer.
        RayGaveUp: with vLLM, Ray cannot be reached or cannot go on.
        StorageError: the folder cannot be read or written.
    """
    remaining = iter(rows)
    with file.open("wb") as kept, ThreadPoolExecutor(NUM_THREADS) as pool:
        while window := list(islice(remaining, ROWS_AT_ONCE)):
            found = _enhanced(window, enhancer, blobs, pool)
            for row in window:
                enhanced = row if row.request is None else _row(row, row.request, found, checkpoint_digest, asking)
                kept.write(enhanced.model_dump_json().encode() + b"\n")
    return replace(rows, file=file)


def _row(row: Row, request: VideoRequest, found: Mapping[str, Enhanced], checkpoint_digest: str, asking: Asking) -> Row:
    enhancement = found[_key(request)]
    told = with_prompt(request, enhancement.told_prompt)
    return with_keys(row.model_copy(update={"enhancement": enhancement}), told, checkpoint_digest, asking)


def _enhanced(window: Sequence[Row], enhancer: Enhancer, blobs: Blobs, pool: ThreadPoolExecutor) -> dict[str, Enhanced]:
    """By key: what is kept, and what is now."""
    asked = {_key(row.request): row.request for row in window if row.request is not None}
    kept = zip(asked, pool.map(lambda key: _read(blobs, key), asked), strict=True)
    found = {key: enhanced for key, enhanced in kept if enhanced is not None}
    missing = [key for key in asked if key not in found]
    if missing:
        typer.echo(f"{len(missing)} prompts to enhance, {len(found)} are", err=True)
        prompts = [PromptRow(number, asked[key].prompt, asked[key].seed) for number, key in enumerate(missing)]
        told = pool.map(
            lambda each: (missing[each[0]], _keep(blobs, missing[each[0]], each[1])), enhance_rows(prompts, enhancer)
        )
        found |= dict(told)
    return found


def _keep(blobs: Blobs, key: str, enhanced: Enhanced) -> Enhanced:
    """What stands: this, or what another launch has kept meanwhile."""
    ask(blobs.create, _path(key), enhanced.model_dump_json().encode())
    return _read(blobs, key) or enhanced


def _read(blobs: Blobs, key: str) -> Enhanced | None:
    content = ask(blobs.read, _path(key))
    try:
        return None if content is None else Enhanced.model_validate_json(content)
    except ValidationError as error:
        told = f"{blobs}/{_path(key)} is not understood ({explain(error)}); what became of a prompt is allowed"
        raise StorageError(f"{told}: remove it, and the prompt is enhanced again") from error


def _key(request: VideoRequest) -> str:
    return hashlib.sha256(json.dumps([request.prompt, request.seed]).encode()).hexdigest()


def _path(key: str) -> str:
    return f"enhanced/{key[:2]}/{key}.json"
