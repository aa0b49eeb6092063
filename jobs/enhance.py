"""A table of prompts to the same table with enhanced prompts.

    OUTPUT          the input's columns, and enhanced_prompt, enhancement, motion, notes; written last
    OUTPUT.parts/   recipe.json, and rows as they are finished

A run that was stopped goes on with the rows that are missing. An empty enhanced_prompt means that the prompt itself
goes on; `enhancement` and `notes` say why.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import fsspec
import typer

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.errors import InputError, StorageError
from fv_ray.prompts.enhanced import Enhanced, EnhancerKind
from fv_ray.storage import storage_errors
from fv_ray.types import MAX_SEED
from jobs.enhance_rows import Enhancer, PromptRow, enhance_rows, require_enhancer
from jobs.read_table import TABLE_SUFFIXES, read_table
from jobs.run_command import run_command
from jobs.run_folder import begin_folder, names_in, write_whole
from jobs.write_table import table_bytes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ADDED = ("enhanced_prompt", "enhancement", "motion", "notes")
"""Columns."""


@app.command()
def enhance(
    table: Annotated[str, typer.Option("--input", help="URL of a .csv, .jsonl or .parquet file.")],
    output: Annotated[str, typer.Option(help="URL of a new table, or of one that the same command began.")],
    checkpoint: Annotated[str, typer.Option(help="That the prompts are for: captions fit its window.")] = str(
        DEFAULT_MODEL
    ),
    kind: Annotated[EnhancerKind, typer.Option(help="rules are for the embedded model alone.")] = "rules",
    model: Annotated[str | None, typer.Option(help="vllm: a folder. openai: as the endpoint calls it.")] = None,
    base_url: Annotated[str | None, typer.Option(help="openai: of the endpoint, with its /v1.")] = None,
    api_key_env: Annotated[str, typer.Option(help="openai: the variable that holds the key.")] = "OPENAI_API_KEY",
    column: Annotated[str, typer.Option(help="Of the prompts; a column `seed` has their seeds.")] = "prompt",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Where there is no column `seed`.")] = 0,
    always: Annotated[bool, typer.Option("--always", help="Also prompts that are as long as a caption.")] = False,
    num_gpus: Annotated[float, typer.Option(min=0, help="vllm: of each engine; a fraction shares a GPU.")] = 0,
    num_engines: Annotated[int, typer.Option(min=1, help="vllm.")] = 1,
    max_model_len: Annotated[int, typer.Option(min=512, help="vllm: tokens of a chat.")] = 4096,
    quantization: Annotated[str | None, typer.Option(help="vllm: such as fp8.")] = None,
    kv_cache_mb: Annotated[int | None, typer.Option(min=1, help="vllm. Default: what its share leaves.")] = None,
    rows_per_part: Annotated[int, typer.Option(min=1, help="How much is redone after a stop.")] = 500,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="openai: of a request.")] = 60,
) -> None:
    """Rewrite short prompts to captions."""
    enhancer = Enhancer(
        kind=kind,
        checkpoint=checkpoint,
        is_forced=always,
        model=model,
        base_url=base_url,
        api_key_env=api_key_env,
        timeout_s=timeout_s,
        num_gpus=num_gpus,
        num_engines=num_engines,
        max_model_len=max_model_len,
        quantization=quantization,
        kv_cache_mb=kv_cache_mb,
    )
    columns, rows, digest = _read(table)
    _check(table, columns, output)
    prompts = _prompts(rows, table, column, seed)
    require_enhancer(enhancer)
    fs, path = fsspec.core.url_to_fs(output)
    parts = f"{path}.parts"
    begin_folder(fs, parts, {"input_sha256": digest, "column": column, "seed": seed, **enhancer.told()})
    done = _read_parts(fs, parts)
    missing = [row for row in prompts if row.number not in done]
    for batch in _batches(enhance_rows(missing, enhancer), rows_per_part) if missing else ():
        _write_part(fs, parts, batch)
        done.update(batch)
        typer.echo(f"{len(done)} of {len(prompts)} prompts", err=True)
    whole = [{**rows[number], **_added(done[number])} for number in range(len(rows))]
    with storage_errors(output):
        write_whole(fs, path, table_bytes([*columns, *ADDED], whole, output))
    num_enhanced = sum(each.enhanced_prompt is not None for each in done.values())
    typer.echo(f"{num_enhanced} of {len(rows)} prompts enhanced in {output}")


def main() -> None:
    """Run the job."""
    run_command(app)


def _read(table: str) -> tuple[list[str], list[Mapping[str, object]], str]:
    fs, path = fsspec.core.url_to_fs(table)
    columns, rows = read_table(fs, path)
    return columns, rows, hashlib.sha256(fs.cat_file(path)).hexdigest()


def _check(table: str, columns: list[str], output: str) -> None:
    if not output.endswith(TABLE_SUFFIXES):
        raise InputError(f"the output is {output}; its name must end in one of {', '.join(TABLE_SUFFIXES)}: rename it")
    if taken := [name for name in ADDED if name in columns]:
        raise InputError(f"{table} has a column {taken[0]!r} already, which this job adds: rename it")


def _prompts(rows: list[Mapping[str, object]], table: str, column: str, seed: int) -> list[PromptRow]:
    found = []
    for number, row in enumerate(rows):
        prompt, own = row.get(column), row.get("seed")
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"row {number} of {table} has no text in column {column!r}; give each row a prompt")
        try:
            own_seed = seed if own in (None, "") else int(str(own))
        except ValueError:
            own_seed = -1
        if not 0 <= own_seed <= MAX_SEED:
            raise InputError(
                f"row {number} of {table} has the seed {own!r}; allowed are 0 to 2^63 - 1: give one of them"
            )
        found.append(PromptRow(number, prompt, own_seed))
    return found


def _batches(results: Iterable[tuple[int, Enhanced]], size: int) -> Iterator[dict[int, Enhanced]]:
    batch: dict[int, Enhanced] = {}
    for number, enhanced in results:
        batch[number] = enhanced
        if len(batch) == size:
            yield batch
            batch = {}
    if batch:
        yield batch


def _write_part(fs: fsspec.AbstractFileSystem, parts: str, batch: Mapping[int, Enhanced]) -> None:
    lines = [json.dumps({"row": number, **enhanced.model_dump(mode="json")}) for number, enhanced in batch.items()]
    with storage_errors(parts):
        write_whole(fs, f"{parts}/{min(batch):09d}.jsonl", ("\n".join(lines) + "\n").encode())


def _read_parts(fs: fsspec.AbstractFileSystem, parts: str) -> dict[int, Enhanced]:
    done: dict[int, Enhanced] = {}
    for name in sorted(name for name in names_in(fs, parts) if name.endswith(".jsonl") and not name.startswith(".")):
        try:
            for line in fs.cat_file(f"{parts}/{name}").decode().splitlines():
                row: dict[str, Any] = json.loads(line)
                number = row.pop("row")
                done[number] = Enhanced.model_validate(row)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"{parts}/{name} cannot be read ({error}); remove it, and its rows are made again"
            ) from error
    return done


def _added(enhanced: Enhanced) -> dict[str, object]:
    values = (enhanced.enhanced_prompt, enhanced.outcome, enhanced.motion, "; ".join(enhanced.notes))
    return dict(zip(ADDED, values, strict=True))


if __name__ == "__main__":
    main()
