"""The named recipes that the training jobs offer.

Sources: [paper] FlashVideo, arXiv 2502.05179, sections 4.1 and 4.2; [released] its configuration files; [ours] chosen
for the small model.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from fv_ray.checkpoint import explain
from fv_ray.errors import InputError
from fv_ray.training.recipe import AnyRecipe, StageOneRecipe, StageTwoRecipe, VAERecipe, View


def vae_small() -> VAERecipe:
    """[ours] Mostly single pictures, of which a step shows many more; crops, and whole clips of both sizes."""
    high = {"source": "high", "height": 128, "width": 192}
    crop = {**high, "crop_height": 64, "crop_width": 64}
    low = {"source": "low", "height": 32, "width": 48}
    return VAERecipe(
        name="small",
        num_steps=5000,
        views=(
            View(weight=0.35, batch_size=16, num_frames=1, **crop),
            View(weight=0.15, batch_size=40, num_frames=1, **low),
            View(weight=0.25, batch_size=2, num_frames=9, **crop),
            View(weight=0.1, batch_size=1, num_frames=9, **high),
            View(weight=0.15, batch_size=8, num_frames=9, **low),
        ),
        learning_rate=3e-3,
        warmup_steps=50,
        decay_steps=2500,
        optimizer="muon",
        max_grad_norm=1.0,
        ema_decay=0.995,
        checkpoint_every=250,
    )


def vae_tiny() -> VAERecipe:
    """[ours] Seconds, for tests."""
    return VAERecipe(
        name="tiny",
        num_steps=6,
        views=(
            View(source="high", batch_size=2, num_frames=9, height=32, width=48, crop_height=16, crop_width=16),
            View(source="low", batch_size=4, num_frames=9, height=16, width=32),
        ),
        learning_rate=1e-3,
        warmup_steps=2,
        max_grad_norm=1.0,
        ema_decay=0.5,
        log_every=1,
        checkpoint_every=2,
        precision="float32",
    )


def stage_one_paper() -> StageOneRecipe:
    """[paper] 4.1: LoRA of rank 128 at 270p, 50,000 steps of 32 videos."""
    return StageOneRecipe(
        name="paper",
        num_steps=50_000,
        views=(View(batch_size=32, num_frames=49, height=256, width=480),),
        learning_rate=4e-5,
        warmup_steps=1000,
        lora_rank=128,
        gradient_checkpointing=True,
        strategy="fsdp",
    )


def stage_one_small() -> StageOneRecipe:
    """[ours] All weights and the text encoder, from nothing."""
    return StageOneRecipe(
        name="small",
        num_steps=2000,
        views=(View(source="low", batch_size=64, num_frames=9, height=32, width=48),),
        learning_rate=2e-3,
        warmup_steps=100,
        decay_steps=1000,
        optimizer="muon",
        max_grad_norm=1.0,
        ema_decay=0.995,
        checkpoint_every=250,
        trains_text_encoder=True,
    )


def stage_one_tiny() -> StageOneRecipe:
    """[ours] Seconds, for tests."""
    return StageOneRecipe(
        name="tiny",
        num_steps=6,
        views=(View(source="low", batch_size=4, num_frames=9, height=16, width=32),),
        learning_rate=1e-3,
        warmup_steps=2,
        max_grad_norm=1.0,
        ema_decay=0.5,
        log_every=1,
        checkpoint_every=2,
        precision="float32",
        trains_text_encoder=True,
    )


def stage_two_paper_1() -> StageTwoRecipe:
    """[paper] 4.2 phase 1: crops of 2048x2048 images, 25,000 steps."""
    return _stage_two_paper(
        name="paper-1",
        num_steps=25_000,
        views=(_crop_of_images(batch_size=64),),
        noise_levels=(600, 900),
    )


def stage_two_paper_2() -> StageTwoRecipe:
    """[paper] 4.2 phase 2: crops of images with videos at 540x960, one to two, 30,000 steps."""
    return _stage_two_paper(
        name="paper-2",
        num_steps=30_000,
        views=(
            _crop_of_images(batch_size=64),
            View(source="videos", weight=2.0, batch_size=64, num_frames=49, height=528, width=960),
        ),
        noise_levels=(600, 900),
    )


def stage_two_paper_3() -> StageTwoRecipe:
    """[paper] 4.2 phase 3: videos at 1080p, 5,000 steps, of which 1,000 at the wide range of noise levels."""
    return _stage_two_paper(
        name="paper-3",
        num_steps=5_000,
        views=(View(source="videos", batch_size=64, num_frames=49, height=1072, width=1920),),
        first_noise_levels=(600, 900),
        num_first_steps=1000,
    )


def stage_two_paper_4() -> StageTwoRecipe:
    """[paper] 4.2 phase 4: 700 steps on hand-picked videos."""
    return _stage_two_paper(
        name="paper-4",
        num_steps=700,
        views=(View(source="videos", batch_size=64, num_frames=49, height=1072, width=1920),),
        checkpoint_every=100,
    )


def stage_two_small() -> StageTwoRecipe:
    """[ours] Of latents that `encode_clips` made once; stage two draws the outline anew, so noise as in the paper."""
    return StageTwoRecipe(
        name="small",
        num_steps=2500,
        views=(View(source="high", batch_size=16, num_frames=9, height=128, width=192),),
        learning_rate=2e-3,
        warmup_steps=100,
        decay_steps=1250,
        optimizer="muon",
        max_grad_norm=1.0,
        ema_decay=0.995,
        checkpoint_every=250,
        noise_levels=(500, 900),
    )


def stage_two_tiny() -> StageTwoRecipe:
    """[ours] Seconds, for tests."""
    return StageTwoRecipe(
        name="tiny",
        num_steps=6,
        views=(View(source="high", batch_size=4, num_frames=9, height=32, width=64),),
        learning_rate=1e-3,
        warmup_steps=2,
        max_grad_norm=1.0,
        ema_decay=0.5,
        log_every=1,
        checkpoint_every=2,
        precision="float32",
        noise_levels=(400, 700),
    )


def _crop_of_images(batch_size: int) -> View:
    return View(
        source="images",
        batch_size=batch_size,
        num_frames=1,
        height=2048,
        width=2048,
        crop_height=528,
        crop_width=960,
    )


def _stage_two_paper(**values: Any) -> StageTwoRecipe:  # noqa: ANN401
    return StageTwoRecipe(
        learning_rate=4e-5, warmup_steps=100, gradient_checkpointing=True, strategy="fsdp", sample_every=0, **values
    )


RECIPES: dict[str, dict[str, Callable[[], AnyRecipe]]] = {
    "vae": {"small": vae_small, "tiny": vae_tiny},
    "stage_one": {"paper": stage_one_paper, "small": stage_one_small, "tiny": stage_one_tiny},
    "stage_two": {
        "paper-1": stage_two_paper_1,
        "paper-2": stage_two_paper_2,
        "paper-3": stage_two_paper_3,
        "paper-4": stage_two_paper_4,
        "small": stage_two_small,
        "tiny": stage_two_tiny,
    },
}


def find_recipe(part: str, name: str, changes: Mapping[str, str] | None = None) -> AnyRecipe:
    """A named recipe with some fields changed.

    Args:
        part: vae, stage_one or stage_two.
        name: of the recipe.
        changes: field to value, written as JSON or, for words, plainly.

    Raises:
        InputError: there is no such recipe or field, or the value is not allowed.
    """
    recipes = RECIPES[part]
    if name not in recipes:
        raise InputError(
            f"there is no recipe {name!r} for {part}; allowed are {', '.join(recipes)}: choose one of these"
        )
    recipe = recipes[name]()
    try:
        return type(recipe).model_validate({**recipe.model_dump(), **{k: _read(v) for k, v in (changes or {}).items()}})
    except ValidationError as error:
        raise InputError(f"the recipe {name}: {explain(error)}; give another value") from error


def read_recipe(document: Mapping[str, Any]) -> AnyRecipe:
    """A recipe from what `model_dump(mode="json")` wrote.

    Raises:
        InputError: it is no recipe.
    """
    classes: dict[str, type[AnyRecipe]] = {"vae": VAERecipe, "stage_one": StageOneRecipe, "stage_two": StageTwoRecipe}
    try:
        return classes[str(document.get("part"))].model_validate_json(json.dumps(document))
    except (KeyError, ValidationError) as error:
        raise InputError(f"this is no training recipe ({error})") from error


def _read(value: str) -> object:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
