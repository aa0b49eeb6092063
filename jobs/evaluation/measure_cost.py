"""What a video costs in two stages and in one: CPU seconds by phase, and counted operations.

Operations are those of matrix products, attention and convolutions; a multiplication and an addition are two.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from diffusers import ModelMixin
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fv_ray import vae
from fv_ray.guidance import with_unconditional
from fv_ray.latents import latents_shape
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.text_to_video import TextToVideo
from fv_ray.types import Progress, VideoRequest

META = torch.device("meta")

_Module = TypeVar("_Module", bound=ModelMixin)


class CpuSeconds:
    """An `OnProgress` that sums the CPU time of this process, all its threads, by phase: others' load does not count.

    Args:
        prefix: put before each phase's name.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._start_s = 0.0
        self.seconds: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        """Take one event."""
        now_s = time.process_time()
        if progress.step == 0:
            self._start_s = now_s
        if progress.is_done:
            name = self._prefix + progress.phase
            self.seconds[name] = self.seconds.get(name, 0.0) + now_s - self._start_s


def two_stage_seconds(models: TextToVideo, requests: Sequence[VideoRequest]) -> dict[str, float]:
    """CPU seconds of a video made in two stages, by phase, the mean over requests; the first is a warm-up more."""
    one, two = CpuSeconds("stage one: "), CpuSeconds("stage two: ")
    models.generate(requests[0])
    for request in requests:
        preview = models.stage_one.generate(request, on_progress=one)
        models.stage_two.refine(request, preview, on_progress=two)
    return {name: seconds / len(requests) for name, seconds in (one.seconds | two.seconds).items()}


def single_stage_seconds(stage_one: StageOne, requests: Sequence[VideoRequest]) -> dict[str, float]:
    """CPU seconds of a video that stage one makes alone, as large as stage two's; by phase, the mean over requests.

    Raises:
        InputError: this checkpoint's stage one cannot make what is asked for.
    """
    cpu = CpuSeconds("single stage: ")
    for number, request in enumerate([requests[0], *requests]):
        on_progress = cpu if number else None  # the first warms up
        stage_one.preview_frames(stage_one.generate(request, on_progress=on_progress), on_progress=on_progress)
    return {name: seconds / len(requests) for name, seconds in cpu.seconds.items()}


def two_stage_flops(models: TextToVideo, request: VideoRequest) -> dict[str, int]:
    """Operations of a video made in two stages, by phase; counted on shapes, nothing is computed."""
    one, two = request.stage_one, request.stage_two
    low, high, embeds_BLD = _shapes(models, request)
    stage_two = StageTwo(
        checkpoint=models.checkpoint,
        transformer=_without_weights(models.stage_two.transformer),
        vae=_without_weights(models.stage_two.vae),
        text_encoder=None,
    )
    frames_BCFHW = _empty((1, 3, one.num_frames, two.height, two.width))
    evaluation = count(lambda: stage_two.transformer(high, embeds_BLD, _empty((1,)), _empty((1,))))
    return {
        "stage one: denoise": one.num_inference_steps * _count_stage_one(models, low, embeds_BLD),
        "stage two: decode_preview": count(lambda: stage_two.decode(low)),
        "stage two: encode": count(lambda: stage_two.encode(frames_BCFHW, noise=_empty)),
        "stage two: refine": two.num_inference_steps * evaluation * (1 if two.guidance_scale == 1 else 2),
        "stage two: decode": count(lambda: stage_two.decode(high, slices=two.decode_slices)),
    }


def single_stage_flops(models: TextToVideo, request: VideoRequest) -> dict[str, int]:
    """Operations of stage one's transformer, with as many evaluations, at stage two's size, and of its decoding."""
    _, high, embeds_BLD = _shapes(models, request)
    autoencoder = _without_weights(models.stage_one.vae)
    return {
        "single stage: denoise": request.stage_one.num_inference_steps * _count_stage_one(models, high, embeds_BLD),
        "single stage: decode": count(lambda: vae.decode(autoencoder, high.transpose(1, 2))),
    }


def count(work: Callable[[], object]) -> int:
    """Operations of some work."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return int(counter.get_total_flops())


def _count_stage_one(models: TextToVideo, latents_BFCHW: Tensor, embeds_BLD: Tensor) -> int:
    """Operations of an evaluation: the guidance pair in one batch."""
    transformer = _without_weights(models.stage_one.transformer)
    pair_BFCHW, pair_BLD = latents_BFCHW.repeat(2, 1, 1, 1, 1), with_unconditional(embeds_BLD)
    return count(lambda: transformer(pair_BFCHW, pair_BLD, _empty((2,))))


def _shapes(models: TextToVideo, request: VideoRequest) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (1, F, C, H, W) of the preview and of the video, and embeddings (1, L, D), without values."""
    one, two, config = request.stage_one, request.stage_two, models.stage_one.transformer.config
    low = latents_shape(one.num_frames, config["in_channels"], one.height, one.width)
    high = latents_shape(one.num_frames, config["in_channels"], two.height, two.width)
    embeds = (1, models.checkpoint.max_prompt_tokens, config["text_embed_dim"])
    return _empty((1, *low)), _empty((1, *high)), _empty(embeds)


def _without_weights(module: _Module) -> _Module:
    """The same layers, on the device where nothing is computed."""
    with META:
        return type(module).from_config(module.config)


def _empty(shape: Sequence[int]) -> Tensor:
    return torch.empty(tuple(shape), device=META)
