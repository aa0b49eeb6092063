"""The stages scale apart, on nodes with a GPU each that is only counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import text_to_video
from deployments.config import StageConfig
from tests.deployments import quick_stages
from tests.deployments.scaling import Burst
from tests.deployments.service import App, running_app


@pytest.fixture
def elastic_app(
    serve_local: str, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    for replica in (quick_stages.StageOneReplica, quick_stages.StageTwoReplica):
        monkeypatch.setattr(text_to_video, replica.__name__, replica)
    stage = StageConfig(
        min_replicas=0,
        max_replicas=2,
        num_cpus=0,
        num_gpus=1,
        device="cpu",
        upscale_delay_s=0.5,
        downscale_delay_s=0.5,
        look_back_s=10.1,
    )
    with running_app(tmp_path, small_checkpoint, stage, name="elastic", serve_url=serve_local, route=None) as app:
        yield app


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_burst_raises_its_own_stage_alone_and_idle_goes_to_zero(elastic_app: App) -> None:
    app = elastic_app
    previews = Burst(app, lambda number: app.accept("preview", prompt=f"fox {number}"))
    previews.until_replicas(StageOne=2, StageTwo=0)
    previews.until_idle()
    assert previews.most["StageTwo"] == 0

    commits = Burst(app, lambda number: app.commit(previews.videos[0], seed=number))
    commits.until_replicas(StageOne=0, StageTwo=2)
    commits.until_idle()
    assert commits.most["StageOne"] == 0

    videos = [*previews.videos, *commits.videos]
    assert {app.read(video).state for video in videos} == {"completed"}
    assert {tuple(app.outcomes(video.id)) for video in videos} == {("done",)}  # no run was cut short by a downscale
