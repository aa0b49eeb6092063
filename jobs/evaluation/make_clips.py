"""Prompts to previews and videos to their scores, by Ray Data actors that each hold both stages."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from PIL import Image

from fv_ray import cli_options
from fv_ray.checkpoint import TEXT_ENCODER_FOLDER, CheckpointInfo
from fv_ray.text_encoder import encode_prompts
from fv_ray.text_to_video import TextToVideo
from fv_ray.types import VideoRequest
from jobs.connect_ray import map_rows
from jobs.evaluation.choose_prompts import Prompt, check_sizes
from jobs.evaluation.score_clips import Score, score

WorkerDevice = Annotated[Literal["cpu", "cuda"], typer.Option(help="Of every worker; with cuda each has a GPU.")]
MAX_TILE_HEIGHT = 128  # pixels of a picture on the contact sheet


@dataclass(frozen=True)
class Making:
    """With what and how clips are made."""

    checkpoint: str
    """A folder."""
    preset: str | None = None
    stage_one: Mapping[str, Any] | None = None
    """Changes of the preset's parameters."""
    stage_two: Mapping[str, Any] | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["bfloat16", "float32"] | None = None

    def request(self, info: CheckpointInfo, prompt: Prompt) -> VideoRequest:
        """What is asked for a prompt.

        Raises:
            InputError: the checkpoint cannot make it.
        """
        return info.request(
            prompt.text, seed=prompt.seed, preset=self.preset, stage_one=self.stage_one, stage_two=self.stage_two
        )

    def load(self) -> TextToVideo:
        """Both stages, where and as they should be."""
        return TextToVideo.from_pretrained(self.checkpoint, **cli_options.placement(self.device, self.dtype))


@dataclass(frozen=True)
class Clips:
    """What comes of a prompt."""

    score: Score
    picture_png: bytes
    """First, middle and last frame of the preview and of the video; empty where it was not asked for."""


class ClipMaker:
    """A Ray Data actor: rows of prompts to rows of scores; a batch is one run of stage one.

    Args:
        making: a `Making`, as a dictionary.
        num_pictures: so many of the first prompts get a picture.
    """

    def __init__(self, making: dict[str, Any], num_pictures: int) -> None:
        self._making = Making(**making)
        self._num_pictures = num_pictures
        self._models = self._making.load()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Make and score the clips of a batch."""
        one, two = self._models.stage_one, self._models.stage_two
        prompts = [Prompt(**json.loads(row)) for row in batch["prompt"]]
        requests = [self._making.request(one.checkpoint, prompt) for prompt in prompts]
        previews = one.generate_batch(requests)
        found: dict[str, list[Any]] = {"score": [], "picture": []}
        for prompt, request, preview in zip(prompts, requests, previews, strict=True):
            preview_FHWC = one.preview_frames(preview)
            video_FHWC = two.refine(request, preview).frames_FHWC
            text_encoder = one.text_encoder
            num_cut = text_encoder.num_tokens_cut(request.stage_two.prompt_prefix + prompt.text) if text_encoder else 0
            told = score(prompt, preview_FHWC, video_FHWC, num_tokens_cut=num_cut)
            found["score"].append(json.dumps(asdict(told)))
            is_shown = prompt.number < self._num_pictures
            found["picture"].append(picture(preview_FHWC, video_FHWC) if is_shown else b"")
        return found


def check(making: Making, prompts: Sequence[Prompt]) -> CheckpointInfo:
    """See that every clip can be made and scored, before Ray is asked.

    Raises:
        CheckpointError: the folder is no checkpoint, or has no text encoder.
        InputError: a prompt or a size is not possible.
    """
    info = CheckpointInfo.read(making.checkpoint)
    if not (Path(making.checkpoint) / TEXT_ENCODER_FOLDER).is_dir():
        encode_prompts(None, [])  # raises, in its own words
    requests = [making.request(info, prompt) for prompt in prompts]
    check_sizes(info, prompts[0], requests[0])
    return info


def make_clips(
    making: Making,
    prompts: Sequence[Prompt],
    *,
    batch_size: int,
    num_workers: int | None,
    tell: Callable[[str], None],
    num_pictures: int = 0,
) -> list[Clips]:
    """Make and score the clips of all prompts, in their order; `check` them first.

    Raises:
        FvRayError: a worker raised it, or Ray gave up.
    """
    rows = map_rows(
        ClipMaker,
        {"making": asdict(making), "num_pictures": num_pictures},
        [{"prompt": json.dumps(asdict(prompt))} for prompt in prompts],
        batch_size=batch_size,
        num_workers=num_workers,
        is_on_gpu=making.device == "cuda",
        tell=tell,
    )
    made = [Clips(Score(**json.loads(row["score"])), row["picture"]) for row in rows]
    return sorted(made, key=lambda each: each.score.number)


def picture(preview_FHWC: np.ndarray, video_FHWC: np.ndarray) -> bytes:
    """First, middle and last frame of both, side by side, the preview's enlarged without smoothing; PNG."""
    height = min(video_FHWC.shape[1], MAX_TILE_HEIGHT)
    width = round(height * video_FHWC.shape[2] / video_FHWC.shape[1])
    tiles = []
    for clip, filter_ in ((preview_FHWC, Image.Resampling.NEAREST), (video_FHWC, Image.Resampling.BOX)):
        for place in (0, len(clip) // 2, -1):
            tiles.append(np.asarray(Image.fromarray(clip[place]).resize((width, height), filter_)))
    data = io.BytesIO()
    Image.fromarray(np.concatenate(tiles, axis=1)).save(data, "PNG")
    return data.getvalue()
