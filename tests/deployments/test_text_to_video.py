"""The real application on a small Ray Serve: replicas that are killed, and what `build` makes of words."""

from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError
from ray import cloudpickle
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve._private.build_app import build_app
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeDeploySchema

from deployments.config import AppConfig, EnhancerConfig, StageConfig
from deployments.database.videos import cancel
from deployments.ingress import Ingress, check_exposure
from deployments.orchestrator import Orchestrator
from deployments.stage_one import StageOneReplica
from deployments.stage_two import StageTwoReplica
from deployments.text_to_video import SECRETS, build, settled
from fv_ray.errors import CheckpointError, InputError
from tests.deployments.service import App, running_app


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
    assert app.outcomes(video.id) in [spoilt.get(deployment, ["lost", "done", "done"]), ["lost", "reused", "done"]]


@pytest.mark.ray
def test_a_new_version_lets_what_runs_finish_and_finds_it(
    serve_local: str, small_checkpoint: Path, tmp_path: Path
) -> None:
    stage = StageConfig(num_cpus=0, max_request_s=120)
    with running_app(tmp_path, small_checkpoint, stage, name="versions", serve_url=serve_local, route=None) as app:
        video = app.accept(num_inference_steps=1000)
        app.until(video, "in_progress", progress=3)
        app.deploy(app.config.model_copy(update={"stage_one": StageConfig(num_cpus=0, max_request_s=119)}))
        assert app.until(video, "completed", "failed").state == "completed"
        assert app.outcomes(video.id) == ["lost", "reused", "done"]


@pytest.mark.ray
def test_a_stage_has_no_secret_of_its_node(app: App) -> None:
    assert {name: app.environment("Orchestrator").get(name) for name in SECRETS} == dict.fromkeys(SECRETS, "secret")
    for stage in ("StageOne", "StageTwo"):
        assert {name: app.environment(stage).get(name) for name in SECRETS} == dict.fromkeys(SECRETS, "")


@pytest.mark.ray
def test_a_cancelled_video_leaves_the_stage_to_the_next(app: App) -> None:
    video = app.accept(num_inference_steps=1000, prompt="never")
    app.until(video, "in_progress", progress=1)
    cancel(app.database.engine, video.tenant, video.id)
    assert app.until(video, "failed").error_code == "cancelled"
    assert app.until(app.accept("preview", prompt="next"), "completed", "failed").state == "completed"
    assert app.outcomes(video.id) == ["cancelled"]


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


def test_an_enhancer_is_a_deployment_of_its_own_that_requests_and_batches_ask(checkpoint: Path) -> None:
    words = {"enhancer.kind": "openai", "enhancer.base_url": "http://localhost/v1", "enhancer.model": "m"}
    words |= {"checkpoint": str(checkpoint), "enhancer.num_gpus": "0.25", "enhancer.max_replicas": "3"}
    built = call_user_app_builder_with_args_if_necessary(build, words)
    deployed = {each.name: each for each in build_app(built, name="app").deployments}
    assert deployed.keys() == {"Ingress", "Orchestrator", "StageOne", "StageTwo", "PromptEnhancer"}
    config = deployed["PromptEnhancer"].init_args[1]
    assert config == EnhancerConfig(
        kind="openai", base_url="http://localhost/v1", model="m", num_gpus=0.25, max_replicas=3
    )
    assert deployed["PromptEnhancer"].ray_actor_options["num_gpus"] == 0.25
    for asking, others in (("Ingress", ["Orchestrator"]), ("Orchestrator", ["StageOne", "StageTwo"])):
        handles = [each for each in deployed[asking].init_args if isinstance(each, DeploymentHandle)]
        assert [each.deployment_name for each in handles] == [*others, "PromptEnhancer"]
    assert not [word for word in deployed["PromptEnhancer"].init_args if "sqlite" in str(word)]


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ({"enhancer.kind": "vllm"}, ValidationError, "enhancer.model is None"),
        ({"enhancer.kind": "openai", "enhancer.model": "m"}, ValidationError, "enhancer.base_url is None"),
        ({"enhancer.kind": "rules", "enhancer.model": "m"}, ValidationError, "needs neither"),
        ({"enhancer.size": "7"}, ValidationError, "enhancer.size"),
        ({"enhancer.kind": "vllm", "enhancer.model": "no/folder"}, CheckpointError, "hf download"),
        ({"enhancer.kind": "rules"}, CheckpointError, "openai or vllm"),
    ],
)
def test_an_enhancer_that_could_not_work_is_refused_before_anything_starts(
    checkpoint: Path, words: dict[str, str], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        call_user_app_builder_with_args_if_necessary(build, {"checkpoint": str(checkpoint), **words})


def test_a_stage_stops_after_its_longest_request_and_is_asked_by_the_orchestrator_alone(checkpoint: Path) -> None:
    """T3: the default of 20 s kills longer ones. Each caller has a queue of its own, and its calls end with it."""
    config = AppConfig(checkpoint=checkpoint, stage_one=StageConfig(max_request_s=180))
    deployed = {each.name: each for each in build_app(build(config), name="app").deployments}
    settings = {name: each._deployment_config for name, each in deployed.items()}
    assert settings["StageOne"].graceful_shutdown_timeout_s == 180
    assert settings["StageTwo"].graceful_shutdown_timeout_s == StageConfig().max_request_s
    assert {settings[stage].max_ongoing_requests for stage in ("StageOne", "StageTwo")} == {1}
    assert settings["Orchestrator"].max_surge_percent == 0  # two of one rank would run its videos twice
    handles = {
        name: [given.deployment_name for given in each.init_args if isinstance(given, DeploymentHandle)]
        for name, each in deployed.items()
    }
    assert handles == {
        "Ingress": ["Orchestrator"], "Orchestrator": ["StageOne", "StageTwo"], "StageOne": [], "StageTwo": []
    }  # fmt: skip


@pytest.mark.parametrize("deployed", [Ingress, Orchestrator, StageOneReplica, StageTwoReplica])
def test_a_replica_imports_its_class(deployed: type) -> None:
    """A decorated class is sent as a copy, with copies of its module's globals."""
    assert isinstance(deployed, type)
    assert len(cloudpickle.dumps(deployed)) < 200


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
    with pytest.raises(ValidationError, match="at least 1"):
        AppConfig(api_key="")  # of a variable that is not set


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", None])
def test_this_machine_needs_no_key(host: str | None) -> None:
    check_exposure(AppConfig(), host)
