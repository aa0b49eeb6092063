"""Clips to Parquet shards of latents on Ray Data, so that training does not encode the same clip again and again.

    OUTPUT/recipe.json    what was asked for; written first
           clips/         one shard for each block of clips
           summary.json   written last

A run that was stopped goes on with the shards that are missing; one whose worker died is made again.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import fsspec
import ray.data
import typer

from fv_ray.checkpoint import TEXT_ENCODER_FOLDER
from fv_ray.checkpoint_folder import part_digest
from fv_ray.errors import InputError
from fv_ray.models.loading import VAE
from fv_ray.storage import storage_errors
from fv_ray.training.recipe import View
from jobs.connect_ray import connected
from jobs.encode_shard import Encoding, ShardEncoder, parse_degradations
from jobs.run_command import run_command
from jobs.run_folder import begin_folder, names_in, write_whole
from jobs.training.data import open_source

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def encode_clips(
    checkpoint: Annotated[str, typer.Option(help="Folder whose autoencoder encodes.")],
    source: Annotated[str, typer.Option("--input", help="URL of a folder that prepare_clips wrote, or: procedural.")],
    output: Annotated[str, typer.Option(help="URL of a new folder, or of one that the same command began.")],
    num_frames: Annotated[int, typer.Option(min=1, help="Of the clips, 1 + 4k.")],
    height: Annotated[int, typer.Option(min=16, help="Pixels of the clips, a multiple of 16.")],
    width: Annotated[int, typer.Option(min=16, help="Pixels of the clips, a multiple of 16.")],
    num_clips: Annotated[int | None, typer.Option(min=1, help="Default: all; the procedural world has no end.")] = None,
    degradation: Annotated[str, typer.Option(help="Of what stage two starts from: flashvideo, preview, or both.")] = "",
    prompt_embeds: Annotated[bool, typer.Option(help="Of the captions as well.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the clips' order and of every draw.")] = 0,
    clips_per_shard: Annotated[int, typer.Option(min=1, help="How much is redone after a stop.")] = 128,
    num_workers: Annotated[int | None, typer.Option(min=1, help="Default: the cluster's CPUs, or GPUs.")] = None,
    use_gpu: Annotated[bool, typer.Option(help="One for each worker.")] = False,
) -> None:
    """Encode clips for the training of both stages."""
    view = View(batch_size=1, num_frames=num_frames, height=height, width=width)
    number = num_clips or open_source(source, view).num_samples
    if number is None:
        raise InputError(f"{source} has no end and no number of clips was given; give --num-clips")
    encoding = Encoding(checkpoint, source, view, parse_degradations(degradation), prompt_embeds, seed)
    fs, root = fsspec.core.url_to_fs(output)
    begin_folder(
        fs,
        root,
        {
            **encoding.told(),
            "vae": part_digest(Path(checkpoint) / VAE),
            "text_encoder": part_digest(Path(checkpoint) / TEXT_ENCODER_FOLDER) if prompt_embeds else None,
            "num_clips": number,
            "clips_per_shard": clips_per_shard,
        },
    )
    with storage_errors(output):
        fs.makedirs(f"{root}/clips", exist_ok=True)
        done = names_in(fs, f"{root}/clips")
    blocks = [
        {"name": name, "first": first, "last": min(first + clips_per_shard, number)}
        for first in range(0, number, clips_per_shard)
        if (name := f"{first // clips_per_shard:06d}.parquet") not in done
    ]
    if blocks:
        _run(blocks, encoding, f"{output.rstrip('/')}/clips", num_workers, use_gpu=use_gpu)
    with storage_errors(output):
        write_whole(fs, f"{root}/summary.json", f'{{"num_clips": {number}}}\n'.encode())
    typer.echo(f"{number} clips in {output}")


def main() -> None:
    """Run the job."""
    run_command(app)


def _run(
    blocks: list[dict[str, Any]], encoding: Encoding, folder: str, num_workers: int | None, *, use_gpu: bool
) -> None:
    started_s, num_clips, wanted = time.monotonic(), 0, sum(block["last"] - block["first"] for block in blocks)
    with connected():
        there = ray.cluster_resources().get("GPU" if use_gpu else "CPU", 1)
        dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map(
            ShardEncoder,
            fn_constructor_kwargs={"encoding": encoding, "folder": folder},
            num_cpus=1,
            num_gpus=1 if use_gpu else None,
            compute=ray.data.ActorPoolStrategy(size=min(num_workers or max(int(there), 1), len(blocks))),
        )
        for row in dataset.iter_rows():
            num_clips += row["num_clips"]
            rate = num_clips / (time.monotonic() - started_s)
            typer.echo(
                f"{row['name']}: {num_clips} of {wanted} clips, {rate:.1f}/s, {(wanted - num_clips) / rate:.0f} s left",
                err=True,
            )


if __name__ == "__main__":
    main()
