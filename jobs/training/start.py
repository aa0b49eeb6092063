"""Starts a training run, or goes on with one: what the three training jobs share.

    OUTPUT/recipe.json              the recipe, the data and the checkpoint; written first
           metrics.jsonl            a line every so many steps
           tensorboard/
           checkpoints/step-.../    parts/ (from_pretrained folders) and state/ (to go on from)
           failure.json             why it stopped, where a loss was no number

A run that was stopped goes on from its last checkpoint when the same command is given again: same data, same draws.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import fsspec
import pyarrow.fs
import ray.train
import typer
from ray.train.torch import TorchConfig, TorchTrainer

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.checkpoint_folder import part_digest
from fv_ray.errors import FvRayError, InputError, NumericalError, StorageError
from fv_ray.models.loading import VAE
from fv_ray.training.recipe import AnyRecipe
from jobs.connect_ray import connected
from jobs.run_folder import RECIPE_FILE, begin_folder
from jobs.training.data import PROCEDURAL, open_source
from jobs.training.loop import train_worker
from jobs.training.recipes import RECIPES, find_recipe
from jobs.training.record import FAILURE_FILE

CHECKPOINTS_FOLDER = "checkpoints"


def start_training(
    recipe: AnyRecipe,
    *,
    checkpoint: str,
    data: Mapping[str, str],
    output: str,
    num_workers: int = 1,
    use_gpu: bool = False,
    num_loaders: int = 1,
    max_failures: int = 3,
    num_to_keep: int = 2,
) -> str:
    """Train, and return the URL of the last checkpoint's parts.

    Args:
        recipe: of the run.
        checkpoint: folder that training starts from, in every worker's reach.
        data: URL of each source that the recipe's views name.
        output: URL of a new folder, or of one that the same run began.
        num_workers: Ray Train's; must divide every batch size.
        use_gpu: one for each worker.
        num_loaders: tasks a worker that read ahead.
        max_failures: how often workers may die before the run gives up.
        num_to_keep: checkpoints.

    Raises:
        InputError: the recipe does not fit the data or the number of workers.
        StorageError: the output holds another run, or cannot be written.
        NumericalError: a loss or a gradient was no number; the last checkpoint is kept.
    """
    _check(recipe, checkpoint, data, num_workers)
    fs, root = fsspec.core.url_to_fs(output)
    note = {
        "recipe": recipe.model_dump(mode="json"),
        "data": dict(data),
        "checkpoint": CheckpointInfo.read(checkpoint).digest,
    }
    begin_folder(fs, root, note)
    if fs.exists(f"{root}/{FAILURE_FILE}"):
        fs.rm_file(f"{root}/{FAILURE_FILE}")
    config = {
        "recipe": note["recipe"],
        "data": dict(data),
        "checkpoint": os.path.abspath(checkpoint),
        "run_url": output,
        "num_loaders": num_loaders,
    }
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=config,
        torch_config=TorchConfig(backend=None if use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=ray.train.RunConfig(
            name=CHECKPOINTS_FOLDER,
            storage_path=root,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=num_to_keep),
        ),
    )
    with connected(num_workers * (1 + num_loaders), shows_bars=True):
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise StorageError(f"the run gave up ({error}); give the same command again to go on") from error
    if fs.exists(f"{root}/{FAILURE_FILE}"):
        raise NumericalError(_told(json.loads(fs.cat_file(f"{root}/{FAILURE_FILE}")), output))
    return f"{result.checkpoint.path}/parts"


def parse_pairs(pairs: Sequence[str], what: str) -> dict[str, str]:
    """NAME=VALUE to a mapping.

    Raises:
        InputError: one has no "=".
    """
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"{what} {pair!r} has no '='; give NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def parse_data(pairs: Sequence[str], recipe: AnyRecipe) -> dict[str, str]:
    """The data sets named NAME=URL, or one URL for all that the recipe names.

    Raises:
        InputError: one that the recipe names is missing, or one is not named by it.
    """
    names = sorted({view.source for view in recipe.views})
    if len(pairs) == 1 and "=" not in pairs[0]:
        return dict.fromkeys(names, pairs[0])
    data = parse_pairs(pairs, "--data")
    if sorted(data) != names:
        raise InputError(
            f"the data sets given are {', '.join(sorted(data)) or 'none'}; the recipe {recipe.name} takes "
            f"{', '.join(names)}: give --data NAME=URL for each, or one --data URL for all"
        )
    return data


def _check(recipe: AnyRecipe, checkpoint: str, data: Mapping[str, str], num_workers: int) -> None:
    """Refuse at once what would fail in a worker."""
    CheckpointInfo.read(checkpoint)
    for view in recipe.views:
        if view.batch_size % num_workers:
            raise InputError(
                f"batch_size is {view.batch_size} and there are {num_workers} workers; allowed are numbers of workers "
                "that divide it: change one of them"
            )
        open_source(data[view.source], view).sample(0, recipe.seed)
    for url in set(data.values()):
        _check_encoder(url, Path(checkpoint))


def _check_encoder(url: str, checkpoint: Path) -> None:
    """Latents belong to the autoencoder that made them."""
    if url.partition(":")[0] == PROCEDURAL:
        return
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.exists(f"{root}/{RECIPE_FILE}"):
        return
    made_by = json.loads(fs.cat_file(f"{root}/{RECIPE_FILE}")).get("vae")
    if made_by is not None and made_by != part_digest(checkpoint / VAE):
        raise InputError(
            f"the latents in {url} were made by the autoencoder {made_by}, and {checkpoint} has "
            f"{part_digest(checkpoint / VAE)}; encode the clips with this checkpoint"
        )


def _told(failure: Mapping[str, Any], output: str) -> str:
    return (
        f"step {failure['step']} gave a loss of {failure['loss']} with a gradient norm of {failure['grad_norm']} on "
        f"{', '.join(failure['ids'])}; the last checkpoint in {output}/{CHECKPOINTS_FOLDER} is good: begin a new run "
        "with a lower learning_rate or max_grad_norm, or without those samples"
    )


def training_app(part: str) -> typer.Typer:
    """The command line of one part's training job."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(help=f"Train {part.replace('_', ' ')} of a checkpoint.")
    def train(
        checkpoint: Annotated[str, typer.Option(help="Folder to start from.")],
        data: Annotated[list[str], typer.Option(help="URL, or NAME=URL for each data set; also: procedural.")],
        output: Annotated[str, typer.Option(help="URL of a new folder, or of one that the same command began.")],
        recipe: Annotated[str, typer.Option(help=", ".join(RECIPES[part]) + ".")] = "small",
        change: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE of the recipe.")] = None,
        num_workers: Annotated[int, typer.Option(min=1, help="Ray Train's.")] = 1,
        use_gpu: Annotated[bool, typer.Option(help="One for each worker.")] = False,
        num_loaders: Annotated[int, typer.Option(min=1, help="Tasks a worker that read ahead.")] = 1,
        max_failures: Annotated[int, typer.Option(min=0, help="Of workers, before the run gives up.")] = 3,
    ) -> None:
        chosen = find_recipe(part, recipe, parse_pairs(change or (), "--set"))
        typer.echo(
            start_training(
                chosen,
                checkpoint=checkpoint,
                data=parse_data(data, chosen),
                output=output,
                num_workers=num_workers,
                use_gpu=use_gpu,
                num_loaders=num_loaders,
                max_failures=max_failures,
            )
        )

    return app


def run_cli(app: Callable[[], Any]) -> None:
    """Run a job; what cannot be done is one line and exit status 1, not a traceback."""
    try:
        app()
    except (FvRayError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
