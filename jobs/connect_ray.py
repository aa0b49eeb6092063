"""A job's connection to Ray, and what Ray says when a worker fails, in our own words."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from fv_ray import errors
from fv_ray.errors import FvRayError, StorageError
from fv_ray.temporary_folder import own_temporary_folder

NO_PROGRESS_TIMEOUT_S = 24 * 3600
"""Ray Data gives up after half an hour without a finished block, which films may take."""


class RayGaveUp(StorageError):
    """Ray cannot be reached, or cannot go on; later it may."""


@contextmanager
def connected(num_cpus: int | None = None, *, shows_bars: bool = False) -> Iterator[None]:
    """Work on the cluster that RAY_ADDRESS names or on one of our own, unless there is a connection already.

    Args:
        num_cpus: of a cluster of our own, at least; tasks may share a CPU. None takes what the machine has.
        shows_bars: what workers write is shown here, and so their bars.

    Raises:
        FvRayError: a worker raised it.
        RayGaveUp: it cannot be reached, or cannot go on.
    """
    with nullcontext() if ray.is_initialized() else _connection(num_cpus, shows_bars=shows_bars):
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        try:
            yield
        except RayError as error:
            raise _cause(error) from error


@contextmanager
def _connection(num_cpus: int | None, *, shows_bars: bool) -> Iterator[None]:
    """A Ray of our own leaves nothing behind, unless RAY_TMPDIR says where it is to keep its logs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    own: dict[str, Any] = {"include_dashboard": False}
    if shows_bars:
        own["runtime_env"] = {"worker_process_setup_hook": _hush}
    if address == "local":  # which nobody takes away
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    if num_cpus is not None:
        own["num_cpus"] = max(num_cpus, os.cpu_count() or 1)
    with own_temporary_folder() if address == "local" else nullcontext():
        try:
            ray.init(address, log_to_driver=shows_bars, **(own if address == "local" else {}))
        except Exception as error:  # of any kind: a port that is taken, a machine too busy, a token that is missing
            told = f"Ray cannot be reached at {address!r} ({str(error).splitlines()[0]})"
            raise RayGaveUp(f"{told}; it must start, or RAY_ADDRESS must name a cluster: try again") from error
        try:
            yield
        finally:
            ray.shutdown()


def map_rows(
    worker: Callable[..., object],
    arguments: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    batch_size: int,
    num_workers: int | None,
    is_on_gpu: bool = False,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Every row that actors of the class `worker` make of `rows`; in no order, so a row says what it is of.

    Args:
        worker: a class; made once an actor with `arguments`, then called with batches.
        arguments: of its construction.
        rows: of strings or bytes, so that Arrow has nothing to guess.
        batch_size: rows a call.
        num_workers: actors. None: one for each CPU of the cluster, or GPU.
        is_on_gpu: each actor has a GPU of its own.
        tell: is told how far it is.

    Raises:
        FvRayError: as `connected`.
    """
    found: list[dict[str, Any]] = []
    with connected():
        there = ray.cluster_resources().get("GPU" if is_on_gpu else "CPU", 1)
        num_blocks = -(-len(rows) // batch_size)
        dataset = ray.data.from_items(list(rows), override_num_blocks=num_blocks).map_batches(
            worker,
            fn_constructor_kwargs=dict(arguments),
            batch_size=batch_size,
            num_cpus=1,
            num_gpus=1 if is_on_gpu else None,
            compute=ray.data.ActorPoolStrategy(size=min(num_workers or max(int(there), 1), num_blocks)),
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            found += batch.to_pylist()
            tell(f"{len(found)} of {len(rows)}")
    return found


def own_error(error: BaseException) -> FvRayError | None:
    """Our own error inside Ray's, if there is one.

    It is the innermost; where only a traceback is left, as of what a Ray Data task raised, it is read from that.
    """
    found: FvRayError | None = None
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FvRayError):
            found = seen
        inner = getattr(seen, "cause", None) or seen.__cause__
        seen = inner if inner is not seen else None
    told = re.findall(r"^fv_ray\.errors\.(\w+): (.+)$", str(found or error), re.MULTILINE)
    if told:
        name, message = told[-1]
        return getattr(errors, name, StorageError)(message)
    if found is not None and "\n" in str(found):  # our messages are one line, to which Ray Data adds its advice
        return type(found)(str(found).splitlines()[0])
    return found


def _cause(error: RayError) -> FvRayError:
    """What a worker raised, else that Ray gave up."""
    last_line = str(error).strip().splitlines()[-1]
    return own_error(error) or RayGaveUp(f"Ray gave up ({last_line}); run the same command again")


def _hush() -> None:
    """In every process of a cluster of our own: its dashboard is off, and one logger asks it every second."""
    logging.getLogger("ray.train.v2._internal.execution.controller.placement_group_cleaner").setLevel(logging.ERROR)
