"""CPU time falls to the phase that took it; operations are counted as the real classes run them."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from fv_ray.text_to_video import TextToVideo
from fv_ray.types import Progress, VideoRequest
from jobs.evaluation.measure_cost import (
    CpuSeconds,
    single_stage_flops,
    single_stage_seconds,
    two_stage_flops,
    two_stage_seconds,
)


def test_work_falls_to_its_phase() -> None:
    cpu = CpuSeconds("x: ")
    for phase, work in (("light", 10), ("heavy", 3_000_000), ("heavy", 10)):
        cpu(Progress(phase, 0, 1, 0.0))
        sum(range(work))
        cpu(Progress(phase, 1, 1, 0.0))
        sum(range(1_000_000))
    assert cpu.seconds.keys() == {"x: light", "x: heavy"}
    assert cpu.seconds["x: heavy"] > cpu.seconds["x: light"] >= 0


def test_every_phase_is_told(models: TextToVideo, request_: VideoRequest) -> None:
    assert list(two_stage_seconds(models, [request_])) == [
        "stage one: text_encode",
        "stage one: denoise",
        "stage two: text_encode",
        "stage two: decode_preview",
        "stage two: upsample",
        "stage two: encode",
        "stage two: refine",
        "stage two: decode",
    ]
    found = single_stage_seconds(models.stage_one, [request_])
    assert list(found) == ["single stage: text_encode", "single stage: denoise", "single stage: decode"]
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_counted_operations_are_those_of_a_run(
    models: TextToVideo, request_: VideoRequest, guidance_scale: float
) -> None:
    changed = request_.stage_two.model_copy(update={"guidance_scale": guidance_scale})
    request = request_.model_copy(update={"stage_two": changed})
    counted = two_stage_flops(models, request)
    assert counted.keys() == {
        "stage one: denoise",
        "stage two: decode_preview",
        "stage two: encode",
        "stage two: refine",
        "stage two: decode",
    }
    with FlopCounterMode(display=False) as counter:
        models.generate(request)
    # The run encodes text too, and what attention counts for depends on its kernel.
    assert sum(counted.values()) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_single_stage_is_counted_at_the_video_s_size(models: TextToVideo, request_: VideoRequest) -> None:
    high = {"height": request_.stage_two.height, "width": request_.stage_two.width}
    large = request_.model_copy(update={"stage_one": request_.stage_one.model_copy(update=high)})
    single, two = single_stage_flops(models, request_), two_stage_flops(models, large)
    assert single["single stage: denoise"] == two["stage one: denoise"]
    assert single["single stage: decode"] == two["stage two: decode_preview"] == two["stage two: decode"]
    assert single["single stage: denoise"] > two_stage_flops(models, request_)["stage one: denoise"]
