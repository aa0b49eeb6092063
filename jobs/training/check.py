"""Refuses a training run that would fail in its workers, before any is started."""

import json
from collections.abc import Mapping
from pathlib import Path

import fsspec
import numpy as np

from fv_ray.checkpoint import TEXT_ENCODER_FOLDER, CheckpointInfo
from fv_ray.checkpoint_folder import part_digest
from fv_ray.errors import InputError
from fv_ray.models.loading import VAE
from fv_ray.training.recipe import AnyRecipe, StageOneRecipe, StageTwoRecipe, VAERecipe
from jobs.run_folder import RECIPE_FILE
from jobs.training.data import PROCEDURAL, open_source
from jobs.training.samples import preview_size


def check_run(recipe: AnyRecipe, checkpoint: Path, data: Mapping[str, str], num_workers: int) -> None:
    """Look at the checkpoint, at the recipe and at one sample of each view.

    Raises:
        InputError: they do not belong together.
    """
    info = CheckpointInfo.read(checkpoint)
    if isinstance(recipe, StageOneRecipe) and recipe.sample_every:
        info.request("any", seed=recipe.seed, stage_one=preview_size(recipe))
    for view in recipe.views:
        if view.batch_size % num_workers:
            raise InputError(
                f"batch_size is {view.batch_size} and there are {num_workers} workers; allowed are numbers of workers "
                "that divide it: change one of them"
            )
        _, _, arrays = open_source(data[view.source], view).sample(0, recipe.seed)
        if "latents" in arrays and view.shown_size != (view.height, view.width):
            raise InputError(
                f"the data in {data[view.source]} holds latents and the recipe {recipe.name} crops; only frames can be "
                "cropped: give clips that prepare_clips made, or a recipe without crops"
            )
        _check_arrays(arrays, recipe, checkpoint, data[view.source])
    for url in set(data.values()):
        _check_encoders(url, recipe, checkpoint)


def _check_arrays(arrays: Mapping[str, np.ndarray], recipe: AnyRecipe, checkpoint: Path, url: str) -> None:
    """See that a sample holds, or can be made to give, what the recipe trains on."""
    holds, has_latents = f"the data in {url} holds {', '.join(arrays)}", "latents" in arrays
    if has_latents and isinstance(recipe, VAERecipe):
        raise InputError(f"{holds}; an autoencoder needs frames: give clips that prepare_clips made")
    needs_degraded = isinstance(recipe, StageTwoRecipe) and recipe.pixel_degradation and not recipe.starts_from_noise
    if needs_degraded and has_latents and "degraded_latents" not in arrays:
        raise InputError(
            f"{holds}; stage two starts from degraded_latents: encode the clips with --degradation, or set "
            "pixel_degradation=false"
        )
    needs_text = not isinstance(recipe, VAERecipe) and "prompt_embeds" not in arrays
    needs_encoder = isinstance(recipe, StageOneRecipe) and (recipe.trains_text_encoder or recipe.sample_every)
    if (needs_text or needs_encoder) and not (checkpoint / TEXT_ENCODER_FOLDER).exists():
        raise InputError(
            f"{checkpoint} has no text encoder, which this recipe and data need; give a checkpoint with one, or "
            "encode the clips with --prompt-embeds and set trains_text_encoder=false and sample_every=0"
        )


def _check_encoders(url: str, recipe: AnyRecipe, checkpoint: Path) -> None:
    """Latents belong to the autoencoder that made them, embeddings to the text encoder."""
    if url.partition(":")[0] == PROCEDURAL:
        return
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.exists(f"{root}/{RECIPE_FILE}"):
        return
    note = json.loads(fs.cat_file(f"{root}/{RECIPE_FILE}"))
    uses_embeds = not (isinstance(recipe, StageOneRecipe) and recipe.trains_text_encoder)
    for what, part in (("latents", VAE), ("embeddings", TEXT_ENCODER_FOLDER)):
        made_by = note.get(part)
        if made_by is None or (part == TEXT_ENCODER_FOLDER and not uses_embeds):
            continue
        if (own := part_digest(checkpoint / part)) != made_by:
            raise InputError(
                f"the {what} in {url} were made by the {part} {made_by}, and {checkpoint} has {own}; "
                "encode the clips with this checkpoint"
            )
