"""A training run's metrics, as JSON lines and for TensorBoard, and its note of why it stopped."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import fsspec
from torch.utils.tensorboard import SummaryWriter

from fv_ray.storage import storage_errors
from jobs.run_folder import write_whole

METRICS_FILE = "metrics.jsonl"
FAILURE_FILE = "failure.json"
FLUSH_S = 10.0


class RunRecord:
    """Written by one worker; object stores cannot append, so the file is written whole now and then."""

    def __init__(self, url: str, first_step: int) -> None:
        """Go on after `first_step` steps; what was written of later ones is forgotten."""
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._lines = [line for line in read_metrics(url) if line["step"] <= first_step]
        self._sums: dict[str, float] = {}
        self._num_summed = 0
        self._started_s = self._flushed_s = time.monotonic()
        self._before_s = self._lines[-1]["elapsed_s"] if self._lines else 0.0
        is_local = "file" in self._fs.protocol
        self._board = SummaryWriter(
            f"{self._root}/tensorboard" if is_local else f"{url.rstrip('/')}/tensorboard", purge_step=first_step + 1
        )

    def add(self, step: int, metrics: dict[str, float], *, is_logged: bool) -> None:
        """Take one step's figures; a line holds their means since the last one."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._num_summed += 1
        if not is_logged:
            return
        means = {name: value / self._num_summed for name, value in self._sums.items()}
        means["learning_rate"] = metrics["learning_rate"]
        elapsed_s = self._before_s + time.monotonic() - self._started_s
        self._lines.append({"step": step, "elapsed_s": round(elapsed_s, 3), **means})
        for name, value in means.items():
            self._board.add_scalar(name, value, step)
        self._sums, self._num_summed = {}, 0
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        text = "".join(json.dumps(line) + "\n" for line in self._lines)
        with storage_errors(self._root):
            write_whole(self._fs, f"{self._root}/{METRICS_FILE}", text.encode())
        self._board.flush()
        self._flushed_s = time.monotonic()

    def close(self) -> None:
        """Write what there is, for the last time."""
        self.flush()
        self._board.close()


@dataclass(frozen=True)
class Failure:
    """Why a run cannot go on: what would only happen again."""

    reason: str
    is_numerical: bool
    """A loss or a gradient was no number; else the data or the checkpoint is not what it must be."""


def write_failure(url: str, failure: Failure) -> None:
    """Write down why a run cannot go on."""
    fs, root = fsspec.core.url_to_fs(url)
    with storage_errors(root):
        write_whole(fs, f"{root}/{FAILURE_FILE}", json.dumps(asdict(failure)).encode())


def read_failure(url: str) -> Failure | None:
    """Why a run cannot go on, if that is so."""
    fs, root = fsspec.core.url_to_fs(url)
    try:
        return Failure(**json.loads(fs.cat_file(f"{root}/{FAILURE_FILE}")))
    except FileNotFoundError:
        return None


def forget_failure(url: str) -> None:
    """Let a run that stopped be tried again."""
    fs, root = fsspec.core.url_to_fs(url)
    with suppress(FileNotFoundError):
        fs.rm_file(f"{root}/{FAILURE_FILE}")


def read_metrics(url: str) -> list[dict[str, Any]]:
    """A run's lines so far."""
    fs, root = fsspec.core.url_to_fs(url)
    try:
        return [json.loads(line) for line in fs.cat_file(f"{root}/{METRICS_FILE}").decode().splitlines()]
    except FileNotFoundError:
        return []
