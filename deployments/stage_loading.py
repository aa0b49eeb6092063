"""What a person set of a stage's replicas to a stage on one of them."""

from pathlib import Path

from deployments.config import StageConfig
from fv_ray import stage_loading
from fv_ray.stage_loading import AnyStage


def load_stage(stage_class: type[AnyStage], checkpoint: Path, config: StageConfig) -> AnyStage:
    """Load a stage as its configuration says; raises as `fv_ray.stage_loading.load_stage`."""
    return stage_loading.load_stage(
        stage_class,
        checkpoint,
        device=config.device or ("cuda" if config.num_gpus else "cpu"),
        dtype=config.dtype,
        attention_backend=config.attention_backend,
    )
