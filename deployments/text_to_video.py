"""The application: `AppConfig -> Ingress, Orchestrator, StageOne, StageTwo`, each a deployment of its own.

With `AppConfig.enhancer`, there is a PromptEnhancer as well.

serve run deployments.text_to_video:build                                       # the default model on this machine
serve run deployments.text_to_video:build checkpoint=FOLDER database_url=URL
serve run deployments.text_to_video:build enhancer.kind=rules                   # short prompts are rewritten first
serve deploy deployments/serve.yaml                                             # to a cluster
"""

import os
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from deployments.config import AppConfig, EnhancerConfig, StageConfig
from deployments.ingress import Ingress
from deployments.orchestrator import Orchestrator
from deployments.prompt_enhancer import REPLICAS
from deployments.stage_one import StageOneReplica
from deployments.stage_two import StageTwoReplica
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.prompts.engine import require_chat_model
from fv_ray.prompts.window import PromptWindow
from fv_ray.training.procedural.rules import require_known_words

API_KEY = "FV_RAY_API_KEY"
SECRETS = (API_KEY, "PGPASSWORD")
"""What a node's environment may hold and no stage needs."""
ORCHESTRATOR_STOP_S = 20
"""Nothing is lost where it is killed; one that hangs keeps its videos for as long."""
INGRESS_STOP_S = 300
"""A download may take as long."""


def build(config: AppConfig) -> Application:
    """The application, as `serve run` and `serve deploy` ask for it.

    Raises:
        CheckpointError: there is no checkpoint, or the enhancer cannot be one for it.
    """
    config = settled(config)
    CheckpointInfo.read(config.checkpoint)
    enhancer = _enhancer(config, config.enhancer)
    orchestrator = (
        serve.deployment(Orchestrator)
        .options(
            num_replicas=config.num_orchestrators,
            # The old one stops first, so that the new one gets its rank, and with it its videos.
            max_surge_percent=0,
            graceful_shutdown_timeout_s=ORCHESTRATOR_STOP_S,
            health_check_period_s=2,
            health_check_timeout_s=config.health_check_timeout_s,
            ray_actor_options={"num_cpus": 0},
        )
        .bind(
            config,
            _stage(StageOneReplica, config, config.stage_one),
            _stage(StageTwoReplica, config, config.stage_two),
            enhancer,
        )
    )
    ingress = serve.deployment(serve.ingress()(Ingress), name="Ingress").options(
        num_replicas=config.num_ingress_replicas,
        max_ongoing_requests=200,
        max_surge_percent=100,
        graceful_shutdown_timeout_s=INGRESS_STOP_S,
        ray_actor_options={"num_cpus": 0},
    )
    return ingress.bind(config, orchestrator, enhancer)


def settled(config: AppConfig) -> AppConfig:
    """What depends on this process, its folder and its environment, in words that every process reads alike."""
    storage_url, database = config.storage_url, sa.make_url(config.database_url)
    if "://" not in storage_url:
        storage_url = str(Path(storage_url).absolute())
    if database.drivername == "sqlite" and database.database:
        database = database.set(database=str(Path(database.database).absolute()))
    key = os.environ.get(API_KEY)
    return config.model_copy(
        update={
            "checkpoint": config.checkpoint.absolute(),
            "enhancer": _settled_enhancer(config.enhancer),
            "database_url": database.render_as_string(hide_password=False),
            "storage_url": storage_url,
            "api_key": SecretStr(key) if config.api_key is None and key else config.api_key,
        }
    )


def _settled_enhancer(enhancer: EnhancerConfig | None) -> EnhancerConfig | None:
    if enhancer is None or enhancer.kind != "vllm" or enhancer.model is None:
        return enhancer
    return enhancer.model_copy(update={"model": str(Path(enhancer.model).absolute())})


def _enhancer(config: AppConfig, enhancer: EnhancerConfig | None) -> Application | None:
    """The enhancer's deployment. Of the service it knows the checkpoint's tokenizer alone."""
    if enhancer is None:
        return None
    if enhancer.kind == "rules":
        require_known_words(config.checkpoint)
    else:
        PromptWindow.read(config.checkpoint)
    if enhancer.kind == "vllm":
        require_chat_model(str(enhancer.model))
    return (
        serve.deployment(REPLICAS[enhancer.kind], name="PromptEnhancer")
        .options(
            max_ongoing_requests=enhancer.max_ongoing_requests,
            max_queued_requests=enhancer.max_queued_requests,
            autoscaling_config=AutoscalingConfig(
                min_replicas=enhancer.min_replicas,
                max_replicas=enhancer.max_replicas,
                target_ongoing_requests=max(1, enhancer.max_ongoing_requests // 2),
            ),
            graceful_shutdown_timeout_s=enhancer.timeout_s,
            health_check_period_s=5,
            health_check_timeout_s=config.health_check_timeout_s,
            ray_actor_options={"num_cpus": enhancer.num_cpus, "num_gpus": enhancer.num_gpus},
        )
        .bind(config.checkpoint, enhancer)
    )


def _stage(
    replica: type[StageOneReplica] | type[StageTwoReplica], config: AppConfig, stage: StageConfig
) -> Application:
    """A stage's deployment. It is told of no database and no key, and the node's own are not in its environment."""
    return (
        serve.deployment(replica, name=replica.__name__.removesuffix("Replica"))
        .options(
            max_ongoing_requests=1,
            autoscaling_config=AutoscalingConfig(
                min_replicas=stage.min_replicas,
                max_replicas=stage.max_replicas,
                target_ongoing_requests=1,
                upscale_delay_s=stage.upscale_delay_s,
                downscale_delay_s=stage.downscale_delay_s,
                look_back_period_s=stage.look_back_s,
            ),
            graceful_shutdown_timeout_s=stage.max_request_s,
            health_check_period_s=5,
            health_check_timeout_s=config.health_check_timeout_s,
            ray_actor_options={
                "num_cpus": stage.num_cpus,
                "num_gpus": stage.num_gpus,
                "runtime_env": {"env_vars": dict.fromkeys(SECRETS, "")},
            },
        )
        .bind(config.checkpoint, config.storage_url, stage)
    )
