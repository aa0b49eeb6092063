import pytest

from deployments.stage_progress import stage_progress
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import Progress, VideoRequest


def test_it_grows_with_every_step_of_a_real_run_to_the_whole(
    stage_one: StageOne, stage_two: StageTwo, request_: VideoRequest
) -> None:
    first: list[Progress] = []
    second: list[Progress] = []
    preview = stage_one.generate(request_, on_progress=first.append)
    stage_one.preview_frames(preview, on_progress=first.append)
    stage_two.refine(request_, preview, on_progress=second.append)
    for told, name in ((first, "stage_one"), (second, "stage_two")):
        shares = [stage_progress(name, progress) for progress in told]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] == pytest.approx(1)


def test_a_phase_that_nobody_gave_a_share_is_an_error() -> None:
    with pytest.raises(ValueError, match="stage_one has no phase 'refine'"):
        stage_progress("stage_one", Progress("refine", 1, 2, 0.0))
