"""The real application on a small Ray Serve: real replicas, a real database, processes that are killed."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from dbos import DBOSClient
from pydantic import SecretStr, ValidationError
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from deployments.config import AppConfig, StageConfig
from deployments.database.engine import open_engine
from deployments.database.records import NewVideo, VideoRecord
from deployments.database.videos import cancel, read
from deployments.ingress import check_exposure
from deployments.text_to_video import build, settled
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError
from fv_ray.types import VideoRequest
from tests.deployments.videos import Database, a_commit, accepted, rows

TENANT = "default"


@dataclass(frozen=True)
class App:
    """The application, and ways around its front door."""

    name: str
    url: str
    database: Database
    checkpoint: CheckpointInfo

    def accept(self, kind: str = "full", num_inference_steps: int = 2, prompt: str = "a red fox") -> VideoRecord:
        request = self.checkpoint.request(prompt, seed=1, stage_one={"num_inference_steps": num_inference_steps})
        return accepted(self.database, NewVideo(TENANT, kind, "flashvideo", self.checkpoint.digest, request))

    def read(self, video: VideoRecord) -> VideoRecord:
        return read(self.database.engine, video.tenant, video.id)

    def until(self, video: VideoRecord, *states: str, progress: int = 0) -> VideoRecord:
        deadline = time.monotonic() + 200
        while (now := self.read(video)).state not in states or now.progress < progress:
            assert time.monotonic() < deadline, now
            time.sleep(0.05)
        return now

    def outcomes(self, video: VideoRecord) -> list[str]:
        attempts = [row for row in rows(self.database, "attempts") if row.video_id == video.id]
        return [row.outcome for row in sorted(attempts, key=lambda row: (row.stage, row.number))]

    def kill(self, deployment: str) -> None:
        title = f"ray::ServeReplica:{self.name}:{deployment}"
        (process,) = [each for each in psutil.process_iter() if title in " ".join(_command(each))]
        process.send_signal(signal.SIGKILL)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def app(serve_local: str, small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    from ray import serve

    folder, name = tmp_path_factory.mktemp("service"), f"fv{os.getpid()}"
    stage = StageConfig(num_cpus=0, max_request_s=1)
    config = AppConfig(
        checkpoint=small_checkpoint,
        database_url=f"sqlite:///{folder}/videos.sqlite",
        storage_url=str(folder / "artifacts"),
        stage_one=stage,
        stage_two=stage,
    )
    serve.run(build(config), name=name, route_prefix="/")
    engine = open_engine(config.database_url)
    client = DBOSClient(system_database_engine=engine)
    yield App(name, serve_local, Database(config.database_url, engine, client), CheckpointInfo.read(small_checkpoint))
    serve.delete(name)
    client.destroy()
    engine.dispose()


@pytest.mark.ray
def test_a_commit_over_serve_is_the_bits_of_a_video_in_one_go(app: App) -> None:
    whole = app.until(app.accept(), "completed", "failed")
    preview = app.until(app.accept("preview"), "completed", "failed")
    committed = accepted(app.database, a_commit(preview, request=with_seed(preview.request)))
    commit = app.until(committed, "completed", "failed")
    assert commit.video.artifacts["video.mp4"].sha256 == whole.video.artifacts["video.mp4"].sha256
    shown = httpx.get(f"{app.url}/v1/videos/{commit.id}").raise_for_status().json()
    assert (shown["status"], shown["progress"]) == ("completed", 100)


@pytest.mark.ray
@pytest.mark.parametrize("deployment", ["StageOne", "StageTwo", "Orchestrator"])
def test_a_killed_replica_costs_one_more_attempt(app: App, deployment: str) -> None:
    video = app.accept(num_inference_steps=300, prompt=deployment)
    if deployment == "StageTwo":
        app.until(video, "in_progress", progress=31)
    else:
        app.until(video, "in_progress", progress=3)
    app.kill(deployment)
    app.until(video, "completed", "failed")
    spoilt = {"StageOne": ["crashed", "done", "done"], "StageTwo": ["done", "crashed", "done"]}
    assert app.outcomes(video) in [spoilt.get(deployment, ["lost", "done", "done"]), ["lost", "reused", "done"]]


@pytest.mark.ray
def test_a_cancelled_video_leaves_the_stage_to_the_next(app: App) -> None:
    video = app.accept(num_inference_steps=1000, prompt="never")
    app.until(video, "in_progress", progress=1)
    cancel(app.database.engine, video.tenant, video.id)
    assert app.until(video, "failed").error_code == "cancelled"
    assert app.until(app.accept("preview", prompt="next"), "completed", "failed").state == "completed"
    assert app.outcomes(video) == ["cancelled"]


def with_seed(request: VideoRequest) -> VideoRequest:
    """Stage two's seed as a client may also give it: as it follows from the request's."""
    return request.model_copy(
        update={"stage_two": request.stage_two.model_copy(update={"seed": request.stage_two_seed})}
    )


def test_places_do_not_depend_on_the_process_that_reads_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FV_RAY_API_KEY", "secret")
    config = settled(AppConfig(checkpoint=Path("model")))
    assert config.checkpoint == tmp_path / "model"
    assert config.database_url == f"sqlite:///{tmp_path}/fv-ray-service/videos.sqlite"
    assert config.storage_url == f"{tmp_path}/fv-ray-service/artifacts"
    assert config.api_key == SecretStr("secret")
    elsewhere = AppConfig(database_url="postgresql://me:pa%40ss@db/fv", storage_url="s3://bucket/fv", api_key="mine")
    assert settled(elsewhere) == elsewhere.model_copy(update={"checkpoint": elsewhere.checkpoint.absolute()})


def test_it_is_built_of_words_and_refuses_those_that_it_does_not_know(checkpoint: Path) -> None:
    words = {"checkpoint": str(checkpoint), "num_orchestrators": "2"}
    deployed = build_app(call_user_app_builder_with_args_if_necessary(build, words), name="app").deployments
    assert {each.name for each in deployed} == {"Ingress", "Orchestrator", "StageOne", "StageTwo"}
    given = {each.name: (*each.init_args, *each.init_kwargs.values()) for each in deployed}
    for stage in ("StageOne", "StageTwo"):
        assert not [word for word in given[stage] if isinstance(word, AppConfig) or "sqlite" in str(word)]
    with pytest.raises(ValidationError, match="num_orchestrator\\n"):
        call_user_app_builder_with_args_if_necessary(build, {"num_orchestrator": "2"})


def test_the_example_for_a_cluster_is_understood() -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "deployments" / "serve.yaml").read_text())
    schema = ServeDeploySchema.model_validate(document)
    (application,) = schema.applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    assert AppConfig.model_validate(application.args).stage_two.num_gpus == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_nobody_else_is_let_in_without_a_key(host: str) -> None:
    with pytest.raises(InputError, match="FV_RAY_API_KEY"):
        check_exposure(AppConfig(), host)
    check_exposure(AppConfig(api_key="secret"), host)
    check_exposure(AppConfig(insecure_no_auth=True), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", None])
def test_this_machine_needs_no_key(host: str | None) -> None:
    check_exposure(AppConfig(), host)
