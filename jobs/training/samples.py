"""What a checkpoint of a training run makes, as one mp4 for people: OUTPUT/samples/step-XXXXXXXX.mp4.

    vae         a clip | its reconstruction
    stage one   previews of the first batch's captions
    stage two   the degraded clip | refined | the clip

The ordinary classes make them from the folders that were just saved.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np
import torch
from torch import Tensor

from fv_ray import pixels, vae
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.checkpoint_folder import replace_parts
from fv_ray.models.loading import load_vae
from fv_ray.noise import SeededNoise
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.storage import storage_errors
from fv_ray.training.batch import Batch
from fv_ray.training.draws import SampleDraws
from fv_ray.training.latents import clean_latents, degraded_latents
from fv_ray.training.recipe import AnyRecipe, StageOneRecipe, StageTwoRecipe, VAERecipe
from fv_ray.training.stage_one_part import LORA_FILE, LORA_FOLDER, text_embeddings
from fv_ray.training.stage_two_part import PURE_NOISE
from fv_ray.video_io import encode_mp4
from jobs.run_folder import write_whole
from jobs.training.stream import choose_view, read_batch

SAMPLES_FOLDER = "samples"
NUM_PREVIEWS = 4


def write_samples(
    recipe: AnyRecipe, data: Mapping[str, str], checkpoint: Path, parts: Path, run_url: str, num_done: int
) -> None:
    """Write the video of one checkpoint.

    Args:
        recipe: of the run.
        data: URL of each source that the recipe names.
        checkpoint: that the run began from.
        parts: what the run trained.
        run_url: the run's folder.
        num_done: steps.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = read_batch(recipe, data, NUM_PREVIEWS if isinstance(recipe, StageOneRecipe) else 1).to(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    loras = parts / LORA_FOLDER
    with TemporaryDirectory() as folder:
        trained = Path(folder) / "checkpoint"
        replace_parts(checkpoint, trained, {path.name: path for path in parts.iterdir() if path != loras})
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        if isinstance(recipe, VAERecipe):
            shown = _reconstruction(batch, trained, where)
        elif isinstance(recipe, StageOneRecipe):
            shown = _previews(batch, recipe, trained, loras / LORA_FILE, where)
        else:
            shown = _refined(batch, recipe, trained, where)
    fps = CheckpointInfo.read(checkpoint).fps
    fs, root = fsspec.core.url_to_fs(run_url)
    file = io.BytesIO()
    encode_mp4([np.concatenate(shown, axis=2)], file, fps=fps, num_threads=1)
    with storage_errors(run_url):
        fs.makedirs(f"{root}/{SAMPLES_FOLDER}", exist_ok=True)
        write_whole(fs, f"{root}/{SAMPLES_FOLDER}/step-{num_done:08d}.mp4", file.getvalue())


def preview_size(recipe: StageOneRecipe) -> dict[str, int]:
    """Frames and pixels of stage one's samples: those of the first step's clips."""
    view = choose_view(recipe, 0)
    height, width = view.shown_size
    return {"num_frames": view.num_frames, "height": height, "width": width}


def _reconstruction(batch: Batch, checkpoint: Path, where: Mapping[str, Any]) -> list[np.ndarray]:
    coder = load_vae(checkpoint, **where)
    frames_BCFHW = batch.clips
    latents_BCFHW = vae.encode(coder, frames_BCFHW, noise=SeededNoise(0))
    return [_pictures(frames_BCFHW), _pictures(vae.decode(coder, latents_BCFHW))]


def _previews(
    batch: Batch, recipe: StageOneRecipe, checkpoint: Path, lora: Path, where: Mapping[str, Any]
) -> list[np.ndarray]:
    stage_one = StageOne.from_pretrained(checkpoint, **where)
    if recipe.lora_rank:
        stage_one.load_loras({lora: 1.0})
    size = preview_size(recipe)
    requests = [stage_one.checkpoint.request(caption, seed=recipe.seed, stage_one=size) for caption in batch.captions]
    return [stage_one.preview_frames(stage_one.generate(request)) for request in requests]


def _refined(batch: Batch, recipe: StageTwoRecipe, checkpoint: Path, where: Mapping[str, Any]) -> list[np.ndarray]:
    stage_two = StageTwo.from_pretrained(checkpoint, **where)
    info = stage_two.checkpoint
    sampling = info.presets[info.default_preset].stage_two
    draws = SampleDraws(recipe.seed, batch.step, batch.slots, batch.num_slots)
    clean = clean_latents(batch, checkpoint, draws) * info.stage_two_scaling_factor
    start = clean
    if recipe.pixel_degradation and not recipe.starts_from_noise:
        start = degraded_latents(batch, checkpoint, draws) * info.stage_two_scaling_factor
    refined = stage_two.denoise(
        start,
        text_embeddings(batch, stage_two.text_encoder),
        noise=SeededNoise(recipe.seed),
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        shift=sampling.shift,
        noise_level=PURE_NOISE if recipe.starts_from_noise else sum(recipe.noise_levels) // 2,
    )
    return [_pictures(stage_two.decode(latents)) for latents in (start, refined, clean)]


def _pictures(frames_BCFHW: Tensor) -> np.ndarray:
    return pixels.to_uint8(frames_BCFHW[0])
