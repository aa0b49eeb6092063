"""A worker's batches, step by step, by Ray Data: read, decoded and degraded in tasks while earlier steps train.

What a step holds is a function of the recipe, the data and the step alone: not of the number of workers, and not of
where a run was resumed.
"""

import json
import logging
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import ray.data
from safetensors.numpy import save
from safetensors.torch import load

from fv_ray.training.batch import Batch
from fv_ray.training.procedural.draws import Draws, stable_hash
from fv_ray.training.recipe import AnyRecipe, StageTwoRecipe, View
from jobs.training.data import open_source
from jobs.training.recipes import read_recipe

BYTES_AHEAD = 64 * 2**20
MAX_STEPS_AHEAD = 64


def stream_batches(
    recipe: AnyRecipe, data: Mapping[str, str], first_step: int, worker: int, num_workers: int, num_loaders: int
) -> Generator[Batch, None, None]:
    """This worker's share of every step from `first_step` on.

    Args:
        recipe: of the run.
        data: URL of each source that the recipe names.
        first_step: from 0.
        worker: this one's rank.
        num_workers: in all; divides every batch size.
        num_loaders: tasks at once.
    """
    size = max(view.batch_size * view.num_frames * view.height * view.width * 3 for view in recipe.views)
    steps_ahead = max(num_loaders, min(MAX_STEPS_AHEAD, BYTES_AHEAD * num_workers // size))
    told = {
        "document": recipe.model_dump(mode="json"),
        "data": dict(data),
        "worker": worker,
        "num_workers": num_workers,
    }
    read = partial(_read_steps, told=told, num_loaders=num_loaders)
    reading: deque[Future[list[dict[str, Any]]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as reader:
        for first in range(first_step, recipe.num_steps, steps_ahead):
            reading.append(reader.submit(read, range(first, min(first + steps_ahead, recipe.num_steps))))
            if len(reading) > 1:
                yield from map(to_batch, reading.popleft().result())
        for last in reading:
            yield from map(to_batch, last.result())


def _read_steps(steps: range, told: Mapping[str, Any], num_loaders: int) -> list[dict[str, Any]]:
    """A part of the run, by a data set of its own.

    One data set for the whole run would cost the training: while the loaders are ahead, Ray Data's scheduling loop has
    nothing to wait for and turns all the time, in a thread of the process that trains.
    """
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # it tells that the bars are off
    share = -(-len(steps) // num_loaders)
    items = [
        {"first": first, "last": min(first + share, steps.stop)} for first in range(steps.start, steps.stop, share)
    ]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
        _load, fn_kwargs=dict(told), num_cpus=1, compute=ray.data.TaskPoolStrategy(len(items))
    )
    return dataset.take_all()


def choose_view(recipe: AnyRecipe, step: int) -> View:
    """The kind of batch that a step takes, by the views' weights."""
    draw = Draws("view", recipe.seed, step)
    thousandths = [view for view in recipe.views for _ in range(round(1000 * view.weight))]
    return draw.choose(thousandths)


def load_batch(recipe: AnyRecipe, data: Mapping[str, str], step: int, worker: int, num_workers: int) -> dict[str, Any]:
    """One worker's samples of one step, as strings and bytes, so that Arrow has nothing to guess."""
    share = choose_view(recipe, step).batch_size // num_workers
    return _load_slots(recipe, data, step, range(worker * share, (worker + 1) * share))


def read_batch(recipe: AnyRecipe, data: Mapping[str, str], num_samples: int) -> Batch:
    """The first samples of the first step, read here."""
    num_samples = min(num_samples, choose_view(recipe, 0).batch_size)
    return to_batch(_load_slots(recipe, data, 0, range(num_samples)))


def _load_slots(recipe: AnyRecipe, data: Mapping[str, str], step: int, slots: range) -> dict[str, Any]:
    view = choose_view(recipe, step)
    source = open_source(data[view.source], view)
    samples = []
    for slot in slots:
        name, caption, arrays = source.sample(step * view.batch_size + slot, recipe.seed)
        seed = stable_hash("fv-ray/training/sample", recipe.seed, step, slot)
        samples.append((name, caption, _finished(recipe, view, arrays, seed)))
    note = {
        "step": step,
        "slots": list(slots),
        "num_slots": view.batch_size,
        "ids": [name for name, _, _ in samples],
        "captions": [caption for _, caption, _ in samples],
    }
    stacked = {name: np.stack([arrays[name] for _, _, arrays in samples]) for name in samples[0][2]}
    return {"note": json.dumps(note), "tensors": save(stacked)}


def to_batch(row: Mapping[str, Any]) -> Batch:
    """What `load_batch` made, as training takes it."""
    note = json.loads(row["note"])
    return Batch(
        step=note["step"],
        slots=tuple(note["slots"]),
        num_slots=note["num_slots"],
        ids=tuple(note["ids"]),
        captions=tuple(note["captions"]),
        tensors=load(row["tensors"]),
    )


def _load(
    row: dict[str, int], document: Mapping[str, Any], data: Mapping[str, str], worker: int, num_workers: int
) -> Iterator[dict[str, Any]]:
    """What a Ray task does."""
    recipe = read_recipe(document)
    for step in range(row["first"], row["last"]):
        yield load_batch(recipe, data, step, worker, num_workers)


def _finished(recipe: AnyRecipe, view: View, arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Cropped, and degraded where the recipe trains on that."""
    if "frames" not in arrays:
        return arrays
    frames = _cropped(arrays["frames"], view, seed)
    if not (isinstance(recipe, StageTwoRecipe) and recipe.pixel_degradation and not recipe.starts_from_noise):
        return {"frames": frames}
    import torch

    from fv_ray.degradations.pixel import degrade_clip
    from fv_ray.degradations.recipes import flashvideo

    clean_CFHW = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1
    degraded = degrade_clip(clean_CFHW, flashvideo(), torch.Generator("cpu").manual_seed(seed))
    return {"frames": frames, "degraded_frames": degraded.permute(1, 2, 3, 0).half().contiguous().numpy()}


def _cropped(frames_FHWC: np.ndarray, view: View, seed: int) -> np.ndarray:
    height, width = view.shown_size
    draws = Draws("crop", seed)
    top = draws.choose(range(view.height - height + 1))
    left = draws.choose(range(view.width - width + 1))
    return np.ascontiguousarray(frames_FHWC[:, top : top + height, left : left + width])
