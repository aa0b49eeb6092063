"""What the hardware could do at best: floating-point operations of each phase, and the device's matmul ceiling.

Operations are counted on meta tensors, exactly and without memory, by running the real modules.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.random_stages import META, Stages, Subject
from benchmarks.timing import time_calls
from fv_ray.guidance import with_unconditional
from fv_ray.latents import latents_shape


def preview_latents_shape(subject: Subject) -> tuple[int, ...]:
    """(B, F, C, H, W) of stage one."""
    sampling = subject.preset.stage_one
    channels = subject.stage_one_config.get("in_channels", 16)
    return 1, *latents_shape(sampling.num_frames, channels, sampling.height, sampling.width)


def video_latents_shape(subject: Subject) -> tuple[int, ...]:
    """(B, F, C, H, W) of stage two."""
    preset = subject.preset
    channels = subject.stage_two_config.get("in_channels", 16)
    return 1, *latents_shape(preset.stage_one.num_frames, channels, preset.stage_two.height, preset.stage_two.width)


def embeds_shape(subject: Subject) -> tuple[int, int, int]:
    """(B, L, D) of a prompt."""
    return 1, subject.checkpoint.max_prompt_tokens, subject.stage_one_config["text_embed_dim"]


def count_flops(work: Callable[[], object]) -> int:
    """Operations of matrix products, attention and convolutions; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def count_stage_one(subject: Subject, stages: Stages) -> int:
    """An evaluation of stage one: the guidance pair in one batch."""
    transformer = stages.stage_one.transformer
    embeds_BLD = with_unconditional(_empty(embeds_shape(subject)))
    latents_BFCHW = _empty(preview_latents_shape(subject)).repeat(2, 1, 1, 1, 1)
    return count_flops(lambda: transformer(latents_BFCHW, embeds_BLD, _empty((2,))))


def count_stage_two(subject: Subject, stages: Stages) -> int:
    """An evaluation of stage two: the guidance pair, one after the other; one where guidance is off."""
    transformer = stages.stage_two.transformer
    embeds_BLD, latents_BFCHW = _empty(embeds_shape(subject)), _empty(video_latents_shape(subject))
    flops = count_flops(lambda: transformer(latents_BFCHW, embeds_BLD, _empty((1,)), _empty((1,))))
    return flops if subject.preset.stage_two.guidance_scale == 1 else 2 * flops


def count_preview_decode(subject: Subject, stages: Stages) -> int:
    """Stage one's latents to frames."""
    stage_one = stages.stage_one
    return count_flops(lambda: stage_one.decode(_empty(preview_latents_shape(subject))))


def count_video_decode(subject: Subject, stages: Stages, *, slices: int) -> int:
    """Stage two's latents to frames."""
    stage_two = stages.stage_two
    return count_flops(lambda: stage_two.decode(_empty(video_latents_shape(subject)), slices=slices))


def count_encode(subject: Subject, stages: Stages) -> int:
    """Upsampled frames to latents."""
    stage_two = stages.stage_two
    preset = subject.preset
    frames_BCFHW = _empty((1, 3, preset.stage_one.num_frames, preset.stage_two.height, preset.stage_two.width))
    return count_flops(lambda: stage_two.encode(frames_BCFHW, noise=_empty))


def measure_matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product on this device, now."""
    side, calls = (8192, 256) if device.type == "cuda" else (1024, 4)
    a, b, out = (torch.randn(side, side, device=device).to(dtype) for _ in range(3))

    def multiply() -> None:
        for _ in range(calls):
            torch.mm(a, b, out=out)

    return 2 * side**3 * calls / time_calls(multiply, repeats=5, device=device).seconds


def _empty(shape: Sequence[int]) -> Tensor:
    return torch.empty(tuple(shape), device=META)
