"""The data sets that training streams: captioned samples by number, the same for the same number for ever.

procedural             scenes drawn from seeds, without end (with the split: procedural:held_out)
URL of a folder        Parquet shards of clips (`prepare_clips`) or of latents (`encode_clips`)
"""

import bisect
import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import fsspec
import numpy as np
import pyarrow.parquet as pq

from fv_ray.errors import InputError, StorageError
from fv_ray.storage import storage_errors
from fv_ray.training.procedural.captions import caption
from fv_ray.training.procedural.draws import stable_hash
from fv_ray.training.procedural.render import PREVIEW_HEIGHT, render_clip
from fv_ray.training.procedural.scene import SPLITS, Split, draw_scene
from fv_ray.training.recipe import View
from fv_ray.video_io import read_frames

PROCEDURAL = "procedural"


class Source(Protocol):
    """A data set."""

    @property
    def num_samples(self) -> int | None:
        """How many there are before they come again in another order; None without end."""
        ...

    def sample(self, position: int, seed: int) -> tuple[str, str, dict[str, np.ndarray]]:
        """The sample that stands at `position`, from 0 without end: its id, its caption, its arrays."""
        ...


@lru_cache(maxsize=8)
def open_source(url: str, view: View) -> Source:
    """The data set at `url` for one kind of batch.

    Raises:
        InputError: it holds no samples, or none of the view's kind.
    """
    if url.partition(":")[0] == PROCEDURAL:
        return _Procedural(url, view)
    return _Shards(url, view)


class _Procedural:
    def __init__(self, url: str, view: View) -> None:
        _, split, preview_height, *rest = (*url.split(":"), "", "")
        if (split or "train") not in SPLITS or not (preview_height or "1").isdecimal() or any(rest):
            raise InputError(
                f"the data set is {url!r}; allowed are procedural, procedural:SPLIT and "
                f"procedural:SPLIT:PREVIEW_HEIGHT with {' or '.join(SPLITS)}: give one of these"
            )
        self._split: Split = "held_out" if split == "held_out" else "train"
        self._preview_height = min(int(preview_height or PREVIEW_HEIGHT), view.height)
        self._view = view

    @property
    def num_samples(self) -> None:
        return None

    def sample(self, position: int, seed: int) -> tuple[str, str, dict[str, np.ndarray]]:
        view = self._view
        own_seed = stable_hash("fv-ray/training/scene", seed, position)
        scene = draw_scene(own_seed, self._split)
        frames = render_clip(scene, view.num_frames, view.height, view.width, preview_height=self._preview_height)
        return f"scene {own_seed}", caption(scene, own_seed), {"frames": frames}


class _Shards:
    """Rows of Parquet files, each epoch in another order."""

    def __init__(self, url: str, view: View) -> None:
        self._url, self._view = url, view
        fs, root = fsspec.core.url_to_fs(url)
        with storage_errors(url):
            paths = sorted(fs.glob(f"{root}/clips/*.parquet") or fs.glob(f"{root}/*.parquet"))
        if not paths:
            raise InputError(f"{url} holds no Parquet shards; give a folder that prepare_clips or encode_clips wrote")
        self._files = [self._open(fs, path) for path in paths]
        self._names = paths
        self._first_rows: list[int] = []
        self._groups: list[tuple[int, int]] = []
        self._num_rows = 0
        for number, file in enumerate(self._files):
            self._check_columns(paths[number], file)
            for group in range(file.metadata.num_row_groups):
                self._first_rows.append(self._num_rows)
                self._groups.append((number, group))
                self._num_rows += file.metadata.row_group(group).num_rows
        if not self._num_rows:
            raise InputError(f"{url} holds no rows; prepare clips that pass its filters")

    @property
    def num_samples(self) -> int:
        return self._num_rows

    def sample(self, position: int, seed: int) -> tuple[str, str, dict[str, np.ndarray]]:
        epoch, place = divmod(position, self._num_rows)
        row = self._row(int(_order(self._num_rows, seed, epoch)[place]))
        return row["clip_id"], row["caption"], self._arrays(row)

    def _row(self, index: int) -> dict[str, Any]:
        group = bisect.bisect_right(self._first_rows, index) - 1
        file, number = self._groups[group]
        try:
            table = self._files[file].read_row_group(number)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self._names[file]} cannot be read ({error}); prepare the clips again") from error
        return table.slice(index - self._first_rows[group], 1).to_pylist()[0]

    def _arrays(self, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        view = self._view
        has = (row["num_frames"], row["height"], row["width"])
        if has != (view.num_frames, view.height, view.width):
            raise InputError(
                f"clip {row['clip_id']} of {self._url} is {has[0]} frames of {has[1]} x {has[2]} pixels, the recipe's "
                f"{view.source} are {view.num_frames} of {view.height} x {view.width}: prepare clips of that size"
            )
        if "mp4" in row:
            return {"frames": read_frames(io.BytesIO(row["mp4"]))}
        shape = tuple(row["latents_shape"])
        arrays = {
            name: np.frombuffer(row[name], np.float16).reshape(shape)
            for name in ("latents", "degraded_latents")
            if row.get(name) is not None
        }
        if row.get("prompt_embeds") is not None:
            arrays["prompt_embeds"] = np.frombuffer(row["prompt_embeds"], np.float16).reshape(row["embeds_shape"])
        return arrays

    def _open(self, fs: fsspec.AbstractFileSystem, path: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(fs.open(path))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{path} cannot be read as Parquet ({error}); give a folder that prepare_clips or encode_clips wrote"
            ) from error

    def _check_columns(self, path: str, file: pq.ParquetFile) -> None:
        names = set(file.schema_arrow.names)
        is_whole = names >= {"clip_id", "caption", "num_frames", "height", "width"}
        if not is_whole or not ("mp4" in names or names >= {"latents", "latents_shape"}):
            raise InputError(
                f"{path} has the columns {', '.join(sorted(names))}; training needs clip_id, caption, num_frames, "
                "height, width, and mp4 or latents with latents_shape: give a folder that prepare_clips or "
                "encode_clips wrote"
            )


@lru_cache(maxsize=4)
def _order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation that the seed and the epoch decide, on every machine."""
    keys = np.random.Philox(key=stable_hash("fv-ray/training/order", seed, epoch)).random_raw(num_rows)
    return np.argsort(keys, kind="stable")
