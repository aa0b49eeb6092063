"""The procedural world, or a table, to the prompts that a checkpoint is evaluated on."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import fsspec
import numpy as np

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError
from fv_ray.training.procedural.captions import caption, parse
from fv_ray.training.procedural.judge import judge
from fv_ray.training.procedural.render import render_clip
from fv_ray.training.procedural.scene import Split, draw_scene
from fv_ray.types import VideoRequest
from jobs.read_table import TABLE_SUFFIXES, read_table

PROMPT_COLUMN = "prompt"


@dataclass(frozen=True)
class Prompt:
    """A prompt with what its clip is expected to show."""

    number: int
    """From 0, in the order of evaluation."""
    text: str
    seed: int
    """Of the request; a procedural prompt's scene is drawn from it too."""
    split: Split | None = None
    """Of the scene. None: the prompt is a person's, and nothing is known of its clip."""

    @property
    def expected(self) -> dict[str, str]:
        """By attribute, what the text says or means by its silence; others can be anything."""
        return {} if self.split is None else parse(self.text)


def world_prompts(num_prompts: int, split: Split, seed: int) -> list[Prompt]:
    """Captions of the scenes that `num_prompts` seeds from `seed` on mean in a split.

    Raises:
        InputError: there are none, or there is no such split.
    """
    _check_count(num_prompts)
    seeds = range(seed, seed + num_prompts)
    texts = [caption(draw_scene(each, split), each) for each in seeds]
    return [Prompt(number, text, each, split) for number, (text, each) in enumerate(zip(texts, seeds, strict=True))]


def table_prompts(table: str, num_prompts: int | None, seed: int) -> list[Prompt]:
    """The first prompts of a table's column `prompt`; the n-th has seed + n.

    Args:
        table: URL of a CSV, JSONL or Parquet file.
        num_prompts: at most. None: all.
        seed: of the first.

    Raises:
        InputError: there is no such table or column, or no prompt to take.
        StorageError: the table cannot be read.
    """
    _check_count(num_prompts)
    fs, path = fsspec.core.url_to_fs(table)
    if PurePosixPath(path).suffix not in TABLE_SUFFIXES or not fs.isfile(path):
        raise InputError(f"{table} is no table; allowed are files that end in {', '.join(TABLE_SUFFIXES)}: give one")
    columns, rows = read_table(fs, path)
    if PROMPT_COLUMN not in columns:
        raise InputError(f"{table} has no column 'prompt'; it has {', '.join(columns) or 'none'}: rename the right one")
    texts = [str(row.get(PROMPT_COLUMN) or "").strip() for row in rows]
    texts = [text for text in texts if text][:num_prompts]
    if not texts:
        raise InputError(f"{table} holds no prompt to take; allowed are one or more: fill its column 'prompt'")
    return [Prompt(number, text, seed + number) for number, text in enumerate(texts)]


def true_clips(prompt: Prompt, request: VideoRequest) -> tuple[np.ndarray, np.ndarray]:
    """The scene of a procedural prompt at the preview's size and at the video's, uint8 (F, H, W, 3).

    Raises:
        InputError: the prompt is no procedural one, or the world cannot be drawn at these sizes.
    """
    if prompt.split is None:
        raise InputError(f"prompt {prompt.number} is of a table; only procedural prompts have a scene: give no table")
    scene, one, two = draw_scene(prompt.seed, prompt.split), request.stage_one, request.stage_two
    low = render_clip(scene, one.num_frames, one.height, one.width, preview_height=one.height)
    return low, render_clip(scene, one.num_frames, two.height, two.width, preview_height=one.height)


def check_sizes(info: CheckpointInfo, prompt: Prompt, request: VideoRequest) -> None:
    """Refuse what cannot be made or scored, before any work is done for it.

    Raises:
        InputError: naming what is allowed.
    """
    info.check(request)
    if prompt.split is not None:
        for frames in true_clips(prompt, request):
            judge(frames)


def _check_count(num_prompts: int | None) -> None:
    if num_prompts is not None and num_prompts < 1:
        raise InputError(f"num_prompts is {num_prompts}; allowed are 1 or more: give at least one")
