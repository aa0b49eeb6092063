"""Prompts of the procedural world to figures at many settings, by Ray Data actors: what each parameter does.

Most studies refine **true previews**: a held-out scene drawn at the preview's size, encoded as stage one's latents are.
Then the true high-resolution clip is known, and PSNR against it says what stage two adds.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fv_ray import metrics, pixels, vae
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.procedural.judge import judge
from fv_ray.types import Preview, VideoRequest
from jobs.connect_ray import map_rows
from jobs.evaluation.choose_prompts import Prompt, true_clips
from jobs.evaluation.make_clips import Making
from jobs.evaluation.measure_straightness import turning_angles

EVALUATIONS = (1, 2, 3, 4, 5, 8)
STAGE_ONE_GUIDANCE = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)
STAGE_TWO_GUIDANCE = (1, 1.5, 2, 3, 4, 6, 8, 13, 16)
NOISE_LEVELS = (100, 200, 300, 400, 500, 600, 700, 800, 900)
NUM_STRAIGHTNESS_EVALUATIONS = 8

Figures = dict[str, float]


@dataclass(frozen=True)
class Record:
    """One prompt's figures at one setting of one study; a share is 0 or 1 here."""

    study: str
    setting: float
    number: int
    """Of the prompt."""
    figures: Figures


class Sweeper:
    """A Ray Data actor: rows of a study's name and prompts to rows of records."""

    def __init__(self, making: dict[str, Any]) -> None:
        self._making = Making(**making)
        self._models = self._making.load()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """Run the studies of a batch."""
        found = []
        for study, prompts in zip(batch["study"], batch["prompts"], strict=True):
            records = STUDIES[study](self._models, self._making, [Prompt(**each) for each in json.loads(prompts)])
            found.append(json.dumps([asdict(record) for record in records]))
        return {"records": found}


def sweep(
    making: Making,
    studies: Iterable[str],
    prompts: Sequence[Prompt],
    *,
    batch_size: int,
    num_workers: int | None,
    tell: Callable[[str], None],
) -> list[Record]:
    """Run studies, of `STUDIES`, on procedural prompts.

    Raises:
        FvRayError: a worker raised it, or Ray gave up.
    """
    groups = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    rows = [
        {"study": study, "prompts": json.dumps([asdict(prompt) for prompt in group])}
        for study in studies
        for group in groups
    ]
    found = map_rows(
        Sweeper,
        {"making": asdict(making)},
        rows,
        batch_size=1,
        num_workers=num_workers,
        is_on_gpu=making.device == "cuda",
        tell=tell,
    )
    records = [Record(**record) for row in found for record in json.loads(row["records"])]
    return sorted(records, key=lambda record: (record.study, record.setting, record.number))


def true_preview(models: TextToVideo, request: VideoRequest, low_FHWC: np.ndarray) -> Preview:
    """Uint8 frames of the preview's size as the preview that stage two would be given of them.

    The latents are the posterior's mean: no draw decides how well stage two does.
    """
    latents_BCFHW = _encoded(models, low_FHWC)
    factor = models.checkpoint.stage_one_scaling_factor
    return Preview(
        request=request,
        latents_FCHW=(latents_BCFHW[0].transpose(0, 1) * factor).cpu().numpy(),
        latents_scaling_factor=factor,
        checkpoint_digest=models.checkpoint.digest,
        fps=models.checkpoint.fps,
    )


def compare_with_upsampling(models: TextToVideo, making: Making, prompts: Sequence[Prompt]) -> list[Record]:
    """Stage two, bilinear upsampling of its own input, and the autoencoder alone, each against the true clip."""
    records = []
    for prompt in prompts:
        request = making.request(models.checkpoint, prompt)
        low_FHWC, truth_FHWC = true_clips(prompt, request)
        preview = true_preview(models, request, low_FHWC)
        two = models.stage_two
        bilinear_BCFHW = two.resize(two.decode_preview(preview), *truth_FHWC.shape[1:3])
        ways = {
            "stage_two": two.refine(request, preview).frames_FHWC,
            "bilinear": pixels.to_uint8(bilinear_BCFHW[0]),
            "autoencoder": pixels.to_uint8(vae.decode(two.vae, _encoded(models, truth_FHWC))[0]),
        }
        figures = {f"{name}_psnr": metrics.psnr(frames, truth_FHWC) for name, frames in ways.items()}
        figures |= {f"{name}_ssim": metrics.ssim(frames, truth_FHWC) for name, frames in ways.items()}
        figures |= {f"{name}_texture": _is_right(prompt, frames)["texture"] for name, frames in ways.items()}
        records.append(Record("upsampling", 0, prompt.number, figures))
    return records


def sweep_stage_one_guidance(models: TextToVideo, making: Making, prompts: Sequence[Prompt]) -> list[Record]:
    """What the judge says of previews by the guidance that made them."""
    records = []
    for scale in STAGE_ONE_GUIDANCE:
        changed = _changed(making, stage_one={"guidance_scale": scale})
        requests = [changed.request(models.checkpoint, prompt) for prompt in prompts]
        for prompt, preview in zip(prompts, models.stage_one.generate_batch(requests), strict=True):
            figures = _is_right(prompt, models.stage_one.preview_frames(preview))
            records.append(Record("stage_one_guidance", scale, prompt.number, figures))
    return records


def measure_straightness(models: TextToVideo, making: Making, prompts: Sequence[Prompt]) -> list[Record]:
    """The angle between each velocity of stage two and the one before; the setting is the evaluation, from 1."""
    changed = _changed(making, stage_two={"num_inference_steps": NUM_STRAIGHTNESS_EVALUATIONS})
    records = []
    for prompt in prompts:
        request = changed.request(models.checkpoint, prompt)
        preview = true_preview(models, request, true_clips(prompt, request)[0])
        for place, degrees in enumerate(turning_angles(models.stage_two, request, preview), start=1):
            records.append(Record("straightness", place, prompt.number, {"degrees": degrees}))
    return records


def _refining(study: str, parameter: str, values: Sequence[float]) -> Callable[..., list[Record]]:
    """A study that refines the same true previews with one parameter of stage two at several values."""

    def run(models: TextToVideo, making: Making, prompts: Sequence[Prompt]) -> list[Record]:
        records = []
        for prompt in prompts:
            request = making.request(models.checkpoint, prompt)
            low_FHWC, truth_FHWC = true_clips(prompt, request)
            preview = true_preview(models, request, low_FHWC)
            for value in values:
                changed = _changed(making, stage_two={parameter: value}).request(models.checkpoint, prompt)
                frames = models.stage_two.refine(changed, preview).frames_FHWC
                figures = {"psnr": metrics.psnr(frames, truth_FHWC), **_is_right(prompt, frames)}
                records.append(Record(study, value, prompt.number, figures))
        return records

    return run


STUDIES: dict[str, Callable[[TextToVideo, Making, Sequence[Prompt]], list[Record]]] = {
    "upsampling": compare_with_upsampling,
    "evaluations": _refining("evaluations", "num_inference_steps", EVALUATIONS),
    "stage_two_guidance": _refining("stage_two_guidance", "guidance_scale", STAGE_TWO_GUIDANCE),
    "noise_level": _refining("noise_level", "noise_level", NOISE_LEVELS),
    "stage_one_guidance": sweep_stage_one_guidance,
    "straightness": measure_straightness,
}
"""By name; a name travels to an actor, a function need not."""


def curves(records: Iterable[Record], study: str) -> dict[str, dict[float, float]]:
    """By figure, the mean over prompts at each setting of a study; prompts that do not ask for it do not count."""
    found: dict[str, dict[float, list[float]]] = {}
    for record in records:
        if record.study == study:
            for name, value in record.figures.items():
                found.setdefault(name, {}).setdefault(record.setting, []).append(value)
    return {name: {at: float(np.mean(of)) for at, of in curve.items()} for name, curve in found.items()}


def _encoded(models: TextToVideo, frames_FHWC: np.ndarray) -> torch.Tensor:
    """Uint8 frames to unscaled latents (1, C, F, H, W): the posterior's mean."""
    frames_BCFHW = torch.from_numpy(frames_FHWC).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    return vae.moments(models.stage_two.vae, frames_BCFHW).chunk(2, dim=1)[0].float()


def _changed(making: Making, **changes: Mapping[str, Any]) -> Making:
    """The same with other parameters of a stage."""
    values = asdict(making)
    return Making(**values | {stage: {**(values[stage] or {}), **of} for stage, of in changes.items()})


def _is_right(prompt: Prompt, frames_FHWC: np.ndarray) -> Figures:
    return {name: float(is_right) for name, is_right in judge(frames_FHWC).agrees(prompt.expected).items()}
