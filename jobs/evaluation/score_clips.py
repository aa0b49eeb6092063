"""A preview and its video to what is told of them, and many of these to shares and means.

The judge is asked where it is known what a clip should show; the other figures need no reference.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fv_ray import metrics
from fv_ray.training.procedural.judge import Verdict, judge
from fv_ray.training.procedural.scene import ATTRIBUTES
from jobs.evaluation.choose_prompts import Prompt

KINDS = ("preview", "video")
FIGURES = {
    "faithfulness_db": "PSNR of the video, averaged down to the preview's size, against the preview, dB",
    "faithfulness_ssim": "SSIM of the same",
    "preview_flicker": "mean absolute second difference along time of the preview, levels of 255",
    "video_flicker": "the same of the video, averaged down to the preview's size",
}
"""What needs no reference, by name."""


@dataclass(frozen=True)
class Score:
    """What is told of one prompt's clips."""

    number: int
    seed: int
    prompt: str
    num_tokens_cut: int
    """Of the prompt: what the text encoder did not read."""
    expected: dict[str, str]
    """By attribute; empty where nothing is known."""
    seen: dict[str, dict[str, str]]
    """By kind of clip and attribute; an unreadable clip has none."""
    clearness: dict[str, float]
    """By kind of clip, 0..1."""
    figures: dict[str, float]
    """Those of `FIGURES`; flicker is missing where there are fewer than 3 frames."""

    def is_right(self, kind: str) -> dict[str, bool]:
        """By attribute, whether a clip shows what its prompt says; an unreadable clip never does."""
        return {name: self.seen[kind].get(name) == value for name, value in self.expected.items()}


@dataclass(frozen=True)
class Share:
    """How many were right of how many that were asked for."""

    num_right: int
    num_asked: int

    @property
    def percent(self) -> float:
        """NaN where none was asked for."""
        return 100 * self.num_right / self.num_asked if self.num_asked else math.nan

    def __str__(self) -> str:
        """As a table says it."""
        return f"{self.percent:.1f} % ({self.num_right}/{self.num_asked})" if self.num_asked else "–"


def score(prompt: Prompt, preview_FHWC: np.ndarray, video_FHWC: np.ndarray, *, num_tokens_cut: int = 0) -> Score:
    """Score one prompt's clips, uint8 frames each.

    Raises:
        InputError: the judge, or a figure, cannot take frames of such a size.
    """
    clips = dict(zip(KINDS, (preview_FHWC, video_FHWC), strict=True))
    verdicts: dict[str, Verdict] = {kind: judge(clip) for kind, clip in clips.items()} if prompt.expected else {}
    small_FHWC = metrics.area_downsample(video_FHWC, *preview_FHWC.shape[1:3])
    figures = {
        "faithfulness_db": metrics.faithfulness(video_FHWC, preview_FHWC),
        "faithfulness_ssim": metrics.ssim(small_FHWC, preview_FHWC),
    }
    if len(preview_FHWC) > 2:
        figures["preview_flicker"] = metrics.flicker(preview_FHWC)
        figures["video_flicker"] = metrics.flicker(small_FHWC)
    return Score(
        number=prompt.number,
        seed=prompt.seed,
        prompt=prompt.text,
        num_tokens_cut=num_tokens_cut,
        expected=prompt.expected,
        seen={kind: verdict.values for kind, verdict in verdicts.items()},
        clearness={kind: verdict.clearness for kind, verdict in verdicts.items()},
        figures=figures,
    )


def shares(scores: Iterable[Score], kind: str) -> dict[str, Share]:
    """By attribute, and as `readable`, over all prompts of which it is known what they should show."""
    judged = [each for each in scores if each.expected]
    answers = [each.is_right(kind) for each in judged]
    found = {name: share([answer[name] for answer in answers if name in answer]) for name in ATTRIBUTES}
    return {**found, "readable": share([bool(each.seen[kind]) for each in judged])}


def share(answers: Sequence[bool]) -> Share:
    """Of answers."""
    return Share(sum(answers), len(answers))


def means(scores: Sequence[Score]) -> dict[str, float]:
    """The mean of each figure over the prompts that have it."""
    found = {name: [each.figures[name] for each in scores if name in each.figures] for name in FIGURES}
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def table_row(each: Score) -> dict[str, str | float | bool]:
    """A score as one row of a table, one value a cell."""
    row: dict[str, str | float | bool] = {
        "number": each.number,
        "seed": each.seed,
        "prompt": each.prompt,
        "num_tokens_cut": each.num_tokens_cut,
        **each.figures,
    }
    if each.expected:
        for name in ATTRIBUTES:
            row[f"expected_{name}"] = each.expected.get(name, "")
        for kind in KINDS:
            row[f"{kind}_clearness"] = each.clearness[kind]
            for name in ATTRIBUTES:
                row[f"{kind}_{name}"] = each.seen[kind].get(name, "")
            for name, is_right in each.is_right(kind).items():
                row[f"{kind}_{name}_is_right"] = is_right
    return row
