"""A folder or table of captioned videos to Parquet shards of clips and a table of what was rejected.

    OUTPUT/recipe.json     what was asked for; written first
           clips/          one shard for each block of files
           blocks/         a record of each block that is done
           rejects.csv     path, start_s, code, reason
           summary.json    counts; written last, so it is there when all is done

A run that was stopped goes on with the blocks that are missing. Ray Data spreads them and
repeats one whose worker died.
"""

import csv
import hashlib
import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import fsspec
import ray.data
import typer

from fv_ray.storage import storage_errors
from fv_ray.training.clips import ClipRecipe
from jobs.connect_ray import connected
from jobs.list_videos import VideoFile, list_videos
from jobs.run_command import run_command
from jobs.run_folder import begin_folder, names_in, write_whole
from jobs.write_shard import Block, write_shard

REJECT_COLUMNS = ("path", "start_s", "code", "reason")
DEFAULT = ClipRecipe()

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prepare_clips(
    source: Annotated[str, typer.Option("--input", help="URL of a folder of videos, or of a CSV/JSONL/Parquet table.")],
    output: Annotated[str, typer.Option(help="URL of a new folder, or of one that the same command began.")],
    num_frames: Annotated[int, typer.Option(help="Of each clip.")] = DEFAULT.num_frames,
    fps: Annotated[int, typer.Option(help="Of each clip; other rates are resampled by time.")] = DEFAULT.fps,
    height: Annotated[int, typer.Option(help="Pixels, even.")] = DEFAULT.height,
    width: Annotated[int, typer.Option(help="Pixels, even.")] = DEFAULT.width,
    max_clips_per_file: Annotated[int, typer.Option(help="The rest is not read.")] = DEFAULT.max_clips_per_file,
    min_mean_luma: Annotated[float, typer.Option(help="0 to 255; a darker clip is black.")] = DEFAULT.min_mean_luma,
    min_motion: Annotated[float, typer.Option(help="0 to 255; below, a clip is still.")] = DEFAULT.min_motion,
    crf: Annotated[int, typer.Option(help="x264's rate factor of the stored clips.")] = DEFAULT.crf,
    path_column: Annotated[str, typer.Option(help="Of the table.")] = "path",
    caption_column: Annotated[str, typer.Option(help="Of the table.")] = "caption",
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first files only.")] = None,
    files_per_shard: Annotated[int, typer.Option(min=1, help="How much is redone after a stop.")] = 32,
    num_workers: Annotated[int | None, typer.Option(min=1, help="At once. Default: the cluster's CPUs.")] = None,
) -> None:
    """Cut captioned videos to clips for training."""
    recipe = ClipRecipe(num_frames, fps, height, width, max_clips_per_file, min_mean_luma, min_motion, crf)
    files = list_videos(source, path_column, caption_column)[:limit]
    fs, root = fsspec.core.url_to_fs(output)
    num_blocks = -(-len(files) // files_per_shard)
    begin_folder(fs, root, {**asdict(recipe), "files_per_shard": files_per_shard, **_identity(files)})
    with storage_errors(output):
        for folder in ("clips", "blocks"):
            fs.makedirs(f"{root}/{folder}", exist_ok=True)
    done = _done(fs, root)
    run = uuid.uuid4().hex
    blocks = [
        Block(number, tuple(files[number * files_per_shard : (number + 1) * files_per_shard]), run)
        for number in range(num_blocks)
        if number not in done
    ]
    if done:
        _tell(f"{len(done)} of {num_blocks} blocks are done already")
    if blocks:
        _run(blocks, recipe, output, num_workers)
    if blocks or not fs.exists(f"{root}/summary.json"):
        _finish(fs, root, num_blocks)
    _tell(fs.cat_file(f"{root}/summary.json").decode().strip())


def main() -> None:
    """Run the job."""
    run_command(app)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _identity(files: list[VideoFile]) -> dict[str, Any]:
    """What the files are; not where, so that a folder may be moved."""
    told = json.dumps([[file.path, file.caption] for file in files])
    return {"num_files": len(files), "paths_and_captions": hashlib.sha256(told.encode()).hexdigest()[:16]}


def _done(fs: fsspec.AbstractFileSystem, root: str) -> set[int]:
    """The numbers of the blocks whose record is there."""
    names = names_in(fs, f"{root}/blocks")
    return {int(name.removesuffix(".json")) for name in names if name.endswith(".json") and not name.startswith(".")}


def _run(blocks: list[Block], recipe: ClipRecipe, output: str, num_workers: int | None) -> None:
    """Write the shards of all blocks, on the cluster that RAY_ADDRESS names or on one of our own."""
    start_s, num_clips = time.monotonic(), 0
    with connected():
        for num_done, record in enumerate(_records(blocks, recipe, output, num_workers), 1):
            num_clips += record["num_clips"]
            took_s = time.monotonic() - start_s
            left_s = took_s / num_done * (len(blocks) - num_done)
            _tell(
                f"block {record['block']}: {record['num_clips']} clips, {record['num_rejects']} rejected; {num_done} "
                f"of {len(blocks)} blocks, {num_clips / took_s:.1f} clips/s, {left_s:.0f} s left"
            )


def _records(blocks: list[Block], recipe: ClipRecipe, output: str, num_workers: int | None) -> Iterator[dict[str, Any]]:
    """What came of each block, as they finish. Clips go from the worker to the disk, never through Ray's store."""
    items = [{"block": json.dumps(asdict(block))} for block in blocks]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
        _write,
        fn_kwargs={"recipe": asdict(recipe), "output": output},
        num_cpus=1,
        compute=ray.data.TaskPoolStrategy(num_workers),
    )
    yield from dataset.iter_rows()


def _write(row: dict[str, str], recipe: dict[str, Any], output: str) -> dict[str, Any]:
    """What a Ray task does: rows are strings, so that Arrow has nothing to guess."""
    block = json.loads(row["block"])
    files = tuple(VideoFile(**file) for file in block["files"])
    record = write_shard(Block(block["number"], files, block["run"]), ClipRecipe(**recipe), output)
    return {"block": record["block"], "num_clips": record["num_clips"], "num_rejects": len(record["rejects"])}


def _finish(fs: fsspec.AbstractFileSystem, root: str, num_blocks: int) -> None:
    """Write the rejects table and the counts, from the blocks' records."""
    with storage_errors(root):
        records = [json.loads(fs.cat_file(f"{root}/blocks/{number:06d}.json")) for number in range(num_blocks)]
        for folder in (f"{root}/clips", f"{root}/blocks"):
            for name in names_in(fs, folder):
                if name.startswith("."):
                    fs.rm_file(f"{folder}/{name}")  # a killed worker's
    rejects = [reject for record in records for reject in record["rejects"]]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, REJECT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rejects)
    summary = {
        "num_files": sum(record["num_files"] for record in records),
        "num_clips": sum(record["num_clips"] for record in records),
        "num_rejects": len(rejects),
        "rejects": dict(sorted(Counter(reject["code"] for reject in rejects).items())),
    }
    with storage_errors(root):
        write_whole(fs, f"{root}/rejects.csv", table.getvalue().encode())
        write_whole(fs, f"{root}/summary.json", (json.dumps(summary) + "\n").encode())


if __name__ == "__main__":
    main()
