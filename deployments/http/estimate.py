"""How long a video will take on its device, and how soon it is ready: pure functions of what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from fv_ray.artifact_store import Stage
from fv_ray.checkpoint import FRAMES_PER_LATENT, PIXELS_PER_TOKEN
from fv_ray.types import VideoRequest

EVEN_TOKENS = {"stage_one": 6 * 3072, "stage_two": 6 * 1920}
"""At which attention costs as much as the rest of a transformer layer: six times its width, the released models'."""

AUTOENCODER_EVALUATIONS = {"stage_one": 1.9, "stage_two": 10.0}
"""Its operations a token, by those of an evaluation without attention: a decoding of the preview, an encoding and a
decoding of the video, counted for the released model."""

POLL_MS = (500, 5000)
"""How soon a client is asked to look again, at least and at most."""
POLL_SHARE = 0.1
"""Of the time that is left."""
UNKNOWN_POLL_MS = 1000


@dataclass(frozen=True)
class StagePace:
    """What is known of a stage."""

    mean_s: float | None
    """Device seconds of one run, as measured; None before the first."""
    num_replicas: int
    """That work at once."""


def stage_cost(request: VideoRequest, stage: Stage) -> float:
    """Work of a stage, in an arbitrary unit: tokens x (evaluations x (linear + quadratic) + autoencoder)."""
    sampling = request.stage_one if stage == "stage_one" else request.stage_two
    num_latent_frames = 1 + (request.stage_one.num_frames - 1) // FRAMES_PER_LATENT
    num_tokens = num_latent_frames * (sampling.height // PIXELS_PER_TOKEN) * (sampling.width // PIXELS_PER_TOKEN)
    is_guided = stage == "stage_one" or request.stage_two.guidance_scale != 1
    evaluations = sampling.num_inference_steps * (2 if is_guided else 1)
    return num_tokens * (evaluations * (1 + num_tokens / EVEN_TOKENS[stage]) + AUTOENCODER_EVALUATIONS[stage])


def stage_seconds(request: VideoRequest, usual: VideoRequest, stage: Stage, pace: StagePace) -> float | None:
    """Device seconds of a stage for this request, where `usual` is one of the measured kind; None before the first."""
    if pace.mean_s is None:
        return None
    return pace.mean_s * stage_cost(request, stage) / stage_cost(usual, stage)


def eta_seconds(work_s: float | None, progress: int, queue_position: int | None, pace: StagePace) -> float | None:
    """Until a video is ready.

    Args:
        work_s: of all its stages.
        progress: percent of that work.
        queue_position: how many wait before it.
        pace: of the stage that it waits for.
    """
    if work_s is None or pace.mean_s is None:
        return None
    wait_s = 0.0 if queue_position is None else (queue_position + 1) * pace.mean_s / pace.num_replicas
    return wait_s + work_s * (100 - progress) / 100


def poll_after_ms(eta_s: float | None) -> int:
    """When a client shall look again."""
    if eta_s is None:
        return UNKNOWN_POLL_MS
    return int(min(max(eta_s * 1000 * POLL_SHARE, POLL_MS[0]), POLL_MS[1]))


def place_free_after_s(pace: StagePace, unknown_s: float) -> float:
    """Until a queue has a place again."""
    return unknown_s if pace.mean_s is None else min(max(pace.mean_s / pace.num_replicas, 1.0), 60.0)
