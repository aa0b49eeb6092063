"""What every worker of a training run does: batches to losses to updates, with checkpoints and metrics on the way.

The part of the model is built from the recipe; nothing here knows which it is.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.exceptions import RayError
from ray.experimental import tqdm_ray

from fv_ray.errors import CheckpointError, FvRayError, InputError, NumericalError
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.part import TrainedPart
from fv_ray.training.recipe import AnyRecipe, StageOneRecipe, VAERecipe
from fv_ray.training.stage_one_part import StageOnePart
from fv_ray.training.stage_two_part import StageTwoPart
from fv_ray.training.vae_part import VAEPart
from jobs.connect_ray import own_error
from jobs.training.recipes import read_recipe
from jobs.training.record import Failure, RunRecord, read_failure, write_failure
from jobs.training.samples import write_samples
from jobs.training.state import TrainingState, learning_rate
from jobs.training.stream import stream_batches

PROGRESS_FILE = "step.txt"
"""In a checkpoint: how many steps are done."""
PARTS_FOLDER = "parts"
"""In a checkpoint: from_pretrained folders of what was trained."""


def train_worker(config: dict[str, Any]) -> None:
    """Ray Train's function: see `jobs.training.start` for what `config` holds."""
    logging.getLogger("ray.train.v2._internal.execution.context").setLevel(logging.WARNING)  # tells of each checkpoint
    if read_failure(config["run_url"]) is not None:
        return  # Ray Train starts workers again after any error, and this one would only happen again
    with _told_failures(config["run_url"]):
        _train(read_recipe(config["recipe"]), config)


def build_part(checkpoint: Path, recipe: AnyRecipe, device: torch.device) -> TrainedPart:
    """The part of the model that a recipe trains, from a checkpoint folder."""
    torch.manual_seed(recipe.seed)  # of what is new in the part, as LoRA layers
    if isinstance(recipe, VAERecipe):
        return VAEPart(checkpoint, recipe, device)
    if isinstance(recipe, StageOneRecipe):
        return StageOnePart(checkpoint, recipe, device)
    return StageTwoPart(checkpoint, recipe, device)


def take_step(state: TrainingState, part: TrainedPart, recipe: AnyRecipe, batch: Batch) -> dict[str, float]:
    """One update of the weights; what to log of it, averaged over the workers."""
    device = next(iter(batch.tensors.values())).device
    num_pieces = min(recipe.accumulation_steps, len(batch))
    bounds = [len(batch) * index // num_pieces for index in range(num_pieces + 1)]
    sums: dict[str, torch.Tensor] = {}
    for index, (first, last) in enumerate(pairwise(bounds)):
        piece = batch.part(first, last)
        share = len(piece) / len(batch)
        draws = SampleDraws(recipe.seed, piece.step, piece.slots, piece.num_slots)
        with _unsynchronised(state.module, index == num_pieces - 1):
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                loss, parts = part.loss(state.module, piece, draws)
            torch.autograd.backward(loss * share)
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach().float() * share
    values = torch.stack(list(sums.values()))
    if dist.is_initialized():
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    metrics = dict(zip(sums, values.tolist(), strict=True))
    metrics["grad_norm"] = state.update(batch.step) if metrics["loss"] == metrics["loss"] else float("nan")
    return {**metrics, "learning_rate": learning_rate(recipe, batch.step)}


def _train(recipe: AnyRecipe, config: dict[str, Any]) -> None:
    context = ray.train.get_context()
    rank, num_workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    part = build_part(Path(config["checkpoint"]), recipe, device)
    state = TrainingState(part, recipe, device)
    first_step = _resume(state)
    batches = stream_batches(recipe, config["data"], first_step, rank, num_workers, config["num_loaders"])
    with closing(batches), _Reporter(config["run_url"], recipe, first_step, rank) as reporter:
        for batch in batches:
            started_s = time.monotonic()
            metrics = take_step(state, part, recipe, batch.to(device))
            _require_numbers(metrics, batch)
            num_done = batch.step + 1
            reporter.tell(num_done, {**metrics, "step_s": time.monotonic() - started_s})
            if num_done % recipe.checkpoint_every == 0 or num_done == recipe.num_steps:
                reporter.flush()
                _checkpoint(state, part, recipe, num_done, config if rank == 0 else None)


class _Reporter:
    """The record and the progress bar, which rank 0 alone has."""

    def __init__(self, url: str, recipe: AnyRecipe, first_step: int, rank: int) -> None:
        self._recipe = recipe
        self._record = RunRecord(url, first_step) if rank == 0 else None
        name = f"train {recipe.part}" + (f" from step {first_step}" if first_step else "")
        self._name = name
        self._bar = tqdm_ray.tqdm(desc=name, total=recipe.num_steps - first_step) if rank == 0 else None

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._record is not None and self._bar is not None:
            self._bar.close()
            self._record.close()

    def tell(self, num_done: int, metrics: dict[str, float]) -> None:
        """Of one step."""
        if self._record is None or self._bar is None:
            return
        is_logged = num_done % self._recipe.log_every == 0 or num_done == self._recipe.num_steps
        self._record.add(num_done, metrics, is_logged=is_logged)
        if is_logged:
            self._bar.set_description(f"{self._name}, loss {metrics['loss']:.4f}")
        self._bar.update(1)

    def flush(self) -> None:
        if self._record is not None:
            self._record.flush()


@contextmanager
def _told_failures(url: str) -> Iterator[None]:
    """Write down the errors that would only happen again: a storage that fails may work the next time."""
    try:
        yield
    except (FvRayError, RayError) as error:
        own = own_error(error)
        if isinstance(own, InputError | CheckpointError | NumericalError):
            write_failure(url, Failure(str(own).strip().splitlines()[-1], isinstance(own, NumericalError)))
        raise


def _unsynchronised(module: torch.nn.Module, is_last: bool) -> Any:  # noqa: ANN401
    """DDP adds the workers' gradients once a step; FSDP2 does it for every piece."""
    no_sync = getattr(module, "no_sync", None)
    return nullcontext() if is_last or no_sync is None else no_sync()


def _require_numbers(metrics: dict[str, float], batch: Batch) -> None:
    """Stop where the loss or the gradient is none, on every worker at once; ids are those of all workers.

    Raises:
        NumericalError: naming the step and its samples.
    """
    limit = float("inf")
    if abs(metrics["loss"]) < limit and metrics["grad_norm"] < limit:
        return
    ids: list[tuple[str, ...]] = [batch.ids]
    if dist.is_initialized():
        ids = [()] * dist.get_world_size()
        dist.all_gather_object(ids, batch.ids)
    raise NumericalError(
        f"step {batch.step + 1} gave a loss of {metrics['loss']} with a gradient norm of {metrics['grad_norm']} on "
        f"{', '.join(name for each in ids for name in each)}; allowed are finite ones, and earlier checkpoints are "
        "good: begin a new run with a lower learning_rate or max_grad_norm, or without those samples"
    )


def _resume(state: TrainingState) -> int:
    """Read the last checkpoint back, if there is one; how many steps are done."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state.load(Path(folder))
        return int((Path(folder) / PROGRESS_FILE).read_text())


def _checkpoint(
    state: TrainingState, part: TrainedPart, recipe: AnyRecipe, num_done: int, config: dict[str, Any] | None
) -> None:
    """Save and tell Ray Train, which moves the workers' folders to the run's, as one; rank 0 alone has `config`."""
    weights = state.weights()
    with TemporaryDirectory() as folder:
        state.save(Path(folder))
        if config is not None:
            parts = Path(folder) / PARTS_FOLDER
            parts.mkdir()
            part.save(parts, weights)
            (Path(folder) / PROGRESS_FILE).write_text(str(num_done))
            if recipe.sample_every and num_done % recipe.sample_every == 0:
                write_samples(recipe, config["data"], Path(config["checkpoint"]), parts, config["run_url"], num_done)
        ray.train.report(
            {"step": num_done},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{num_done:08d}",
        )
