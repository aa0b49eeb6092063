"""Starts a training run, or goes on with one: what the three training jobs share.

    OUTPUT/recipe.json              the recipe, the data and the checkpoint; written first
           metrics.jsonl            a line every so many steps
           tensorboard/
           checkpoints/step-.../    parts/ (from_pretrained folders) and state/ (to go on from)
           parts/                   those of the last step; written last
           samples/step-....mp4     what a checkpoint makes, every `sample_every` steps
           failure.json             why it stopped, where going on would only fail again

A run that was stopped goes on from its last checkpoint when the same command is given again: same data, same draws.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import fsspec
import pyarrow.fs
import ray.train
import typer
from ray.train.torch import TorchConfig, TorchTrainer

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError, NumericalError, StorageError
from fv_ray.storage import storage_errors
from fv_ray.training.recipe import AnyRecipe
from jobs.connect_ray import connected
from jobs.read_pairs import read_pairs
from jobs.run_folder import begin_folder
from jobs.training.check import check_run
from jobs.training.cost import run_cost
from jobs.training.data import PROCEDURAL
from jobs.training.loop import PARTS_FOLDER, train_worker
from jobs.training.recipes import RECIPES, find_recipe
from jobs.training.record import forget_failure, read_failure

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
    tell: Callable[[str], None] | None = None,
) -> str:
    """Train, and return the URL of the trained parts.

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
        tell: is told what the run will cost, before it starts.

    Raises:
        InputError: the recipe does not fit the data or the number of workers.
        StorageError: the output holds another run, or cannot be written.
        NumericalError: a loss or a gradient was no number; the last checkpoint is kept.
    """
    data = {name: _absolute(url) for name, url in data.items()}
    check_run(recipe, Path(checkpoint), data, num_workers)
    run_url = _absolute(output)
    fs, root = fsspec.core.url_to_fs(run_url)
    note = {
        "recipe": recipe.model_dump(mode="json"),
        "data": data,
        "checkpoint": CheckpointInfo.read(checkpoint).digest,
    }
    begin_folder(fs, root, note)
    forget_failure(run_url)
    if tell is not None:
        tell(run_cost(recipe, Path(checkpoint), num_workers).tell(num_workers, use_gpu=use_gpu))
    config = {
        "recipe": note["recipe"],
        "data": data,
        "checkpoint": os.path.abspath(checkpoint),
        "run_url": run_url,
        "num_loaders": num_loaders,
    }
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it logs every line of the progress bar once more
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
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    with connected(num_workers * (1 + num_loaders), shows_bars=True):
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            _require_success(run_url)
            last_line = str(error).strip().splitlines()[-1]
            raise StorageError(f"the run gave up ({last_line}); give the same command again to go on") from error
    _require_success(run_url)
    parts = f"{root}/{PARTS_FOLDER}"
    with storage_errors(parts):
        if not fs.exists(parts):
            fs.copy(f"{result.checkpoint.path}/{PARTS_FOLDER}/", f"{parts}/", recursive=True)
    return parts


def _require_success(run_url: str) -> None:
    failure = read_failure(run_url)
    if failure is not None:
        raise NumericalError(failure.reason) if failure.is_numerical else InputError(failure.reason)


def parse_data(pairs: Sequence[str], recipe: AnyRecipe) -> dict[str, str]:
    """The data sets named NAME=URL, or one URL for all that the recipe names.

    Raises:
        InputError: one that the recipe names is missing, or one is not named by it.
    """
    names = sorted({view.source for view in recipe.views})
    if len(pairs) == 1 and "=" not in pairs[0]:
        return dict.fromkeys(names, pairs[0])
    data = read_pairs("--data", pairs)
    if sorted(data) != names:
        raise InputError(
            f"the data sets given are {', '.join(sorted(data)) or 'none'}; the recipe {recipe.name} takes "
            f"{', '.join(names)}: give --data NAME=URL for each, or one --data URL for all"
        )
    return data


def _absolute(url: str) -> str:
    """Workers have other working folders; a local path and its file:// URL are one place."""
    if url.partition(":")[0] == PROCEDURAL:
        return url
    fs, root = fsspec.core.url_to_fs(url)
    return root if "file" in fs.protocol else url


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
        chosen = find_recipe(part, recipe, read_pairs("--set", change or ()))
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
                tell=partial(typer.echo, err=True),
            )
        )

    return app
