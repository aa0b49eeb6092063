"""Angles between velocities: known ones from a transformer that turns, and those of the real sampler's own steps."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import VideoRequest
from jobs.evaluation.measure_straightness import turning_angles


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_angles_are_those_of_the_steps_that_the_sampler_takes(
    stage_one: StageOne, stage_two: StageTwo, request_: VideoRequest, guidance_scale: float
) -> None:
    changes = {"num_inference_steps": 4, "guidance_scale": guidance_scale}
    request = request_.model_copy(update={"stage_two": request_.stage_two.model_copy(update=changes)})
    preview = stage_one.generate(request)
    seen: list[Tensor] = []
    hook = stage_two.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double().flatten()))
    angles = turning_angles(stage_two, request, preview)
    hook.remove()
    latents = seen[:: 1 if guidance_scale == 1 else 2]
    steps = [after - before for before, after in pairwise(latents)]
    expected = [math.degrees(math.acos(float(torch.cosine_similarity(a, b, dim=0)))) for a, b in pairwise(steps)]
    assert len(angles) == 3
    assert angles[:2] == pytest.approx(expected, abs=0.05)  # the last latents are not an input
    assert turning_angles(stage_two, request, preview) == angles


def test_one_evaluation_has_no_angle(stage_one: StageOne, stage_two: StageTwo, request_: VideoRequest) -> None:
    changed = request_.stage_two.model_copy(update={"num_inference_steps": 1})
    request = request_.model_copy(update={"stage_two": changed})
    assert turning_angles(stage_two, request, stage_one.generate(request)) == []
