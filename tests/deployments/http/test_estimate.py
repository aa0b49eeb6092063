from pathlib import Path

import pytest

from deployments.http.estimate import StagePace, eta_seconds, poll_after_ms, stage_cost, stage_seconds
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.types import VideoRequest


@pytest.fixture
def usual(checkpoint: Path) -> VideoRequest:
    return CheckpointInfo.read(checkpoint).request("usual", seed=0)


def changed(request: VideoRequest, **stage_two: float) -> VideoRequest:
    return VideoRequest.model_validate(request.model_dump() | {"stage_two": request.stage_two.model_dump() | stage_two})


def test_the_usual_request_takes_what_was_measured(usual: VideoRequest) -> None:
    assert stage_seconds(usual, usual, "stage_two", StagePace(72.0, 1)) == 72.0
    assert stage_seconds(usual, usual, "stage_two", StagePace(None, 1)) is None


def test_cost_grows_with_steps_and_guidance_and_more_than_that_with_pixels(usual: VideoRequest) -> None:
    steps = usual.stage_two.num_inference_steps
    once, twice, thrice = (stage_cost(changed(usual, num_inference_steps=n * steps), "stage_two") for n in (1, 2, 3))
    assert thrice - twice == pytest.approx(twice - once)
    assert once < twice < 2 * once, "the autoencoder works once, whatever the steps"
    assert stage_cost(changed(usual, guidance_scale=1.0, num_inference_steps=2 * steps), "stage_two") == once
    assert stage_cost(changed(usual, width=usual.stage_two.width // 2), "stage_two") < once / 2
    assert stage_cost(changed(usual, width=16), "stage_one") == stage_cost(usual, "stage_one")


def test_what_waits_before_counts_by_replica() -> None:
    pace = StagePace(10.0, 2)
    assert eta_seconds(20.0, 0, 3, pace) == 4 * 10.0 / 2 + 20.0
    assert eta_seconds(20.0, 75, None, pace) == 5.0
    assert eta_seconds(None, 0, 3, pace) is None


@pytest.mark.parametrize(("eta_s", "ms"), [(None, 1000), (0.0, 500), (20.0, 2000), (1e6, 5000)])
def test_clients_look_again_sooner_the_sooner_it_is_ready(eta_s: float | None, ms: int) -> None:
    assert poll_after_ms(eta_s) == ms
