"""How straight stage two's path is: the angles between the velocities that its transformer gives one after the other.

A straight path has none, and one evaluation would be enough (paper section 3.3).
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from fv_ray.guidance import guide
from fv_ray.stage_two import StageTwo
from fv_ray.types import Preview, VideoRequest


def turning_angles(stage_two: StageTwo, request: VideoRequest, preview: Preview) -> list[float]:
    """The angle in degrees between each guided velocity and the one before, one fewer than there are evaluations.

    The sampler runs as it always does; a hook listens to what the transformer gives.
    """
    outputs: list[Tensor] = []

    def listen(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
        outputs.append(output.sample.double().flatten())

    hook = stage_two.transformer.register_forward_hook(listen)
    try:
        stage_two.refine_chunks(request, preview)  # the chunks are not decoded until they are taken
    finally:
        hook.remove()
    num_branches = len(outputs) // request.stage_two.num_inference_steps
    pairs = [outputs[start : start + num_branches] for start in range(0, len(outputs), num_branches)]
    velocities = [guide(pair[0], pair[-1], request.stage_two.guidance_scale) for pair in pairs]
    return [_degrees(before, after) for before, after in pairwise(velocities)]


def _degrees(a: Tensor, b: Tensor) -> float:
    """The angle between two vectors; exact for small ones, where the arc cosine is not."""
    a, b = a / a.norm(), b / b.norm()
    return float(torch.rad2deg(2 * torch.atan2((a - b).norm(), (a + b).norm())))
