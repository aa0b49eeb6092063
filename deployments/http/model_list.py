"""The two models that clients may name, with all that the checkpoint can make."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from deployments.http.errors import ApiError
from deployments.http.new_videos import KINDS
from deployments.http.openapi import MODELS
from deployments.http.service import Service, TheService
from fv_ray.checkpoint import INDEX_FILE, Preset, SizeLimits, shortened
from fv_ray.sizes import PixelSize, frames_by_seconds

router = APIRouter(tags=["models"])


class ModelExtras(BaseModel):
    """What can be asked of a model."""

    checkpoint: str
    checkpoint_digest: str
    fps: int
    seconds: list[str]
    max_num_frames: int
    default_size: str
    preview_limits: SizeLimits
    video_limits: SizeLimits
    default_preset: str
    presets: dict[str, Preset]


class Model(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When the checkpoint was put in its place."""
    owned_by: str = "fv-ray"
    flashvideo: ModelExtras


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/v1/models", summary="List models")
def list_models(service: TheService) -> ModelList:
    """flashvideo runs both stages, flashvideo-preview stage one alone."""
    return ModelList(data=[_model(service, name) for name in KINDS])


@router.get("/v1/models/{model}", summary="Look at a model", responses=MODELS)
def retrieve_model(service: TheService, model: str) -> Model:
    """What it can make."""
    if model not in KINDS:
        message = f"the model {shortened(model)} does not exist; use {' or '.join(KINDS)}"
        raise ApiError(404, "model_not_found", message, param="model")
    return _model(service, model)


def _model(service: Service, name: str) -> Model:
    checkpoint = service.checkpoint
    usual = checkpoint.presets[checkpoint.default_preset].stage_two
    return Model(
        id=name,
        created=int((service.config.checkpoint / INDEX_FILE).stat().st_mtime),
        flashvideo=ModelExtras(
            checkpoint=checkpoint.name,
            checkpoint_digest=checkpoint.digest,
            fps=checkpoint.fps,
            seconds=list(frames_by_seconds(checkpoint)),
            max_num_frames=checkpoint.max_frames,
            default_size=str(PixelSize(usual.width, usual.height)),
            preview_limits=checkpoint.stage_one_limits,
            video_limits=checkpoint.stage_two_limits,
            default_preset=checkpoint.default_preset,
            presets=checkpoint.presets,
        ),
    )
