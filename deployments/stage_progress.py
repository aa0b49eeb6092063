"""Progress of a phase to progress of its stage, 0 to 1."""

from collections.abc import Mapping

from fv_ray.artifact_store import Stage
from fv_ray.types import Progress

# In the order in which they run. An estimate for the released model, which only people look at: most of the time goes
# to the transformers, and stage two also encodes and decodes at the full resolution.
SHARES: Mapping[Stage, Mapping[str, float]] = {
    "stage_one": {"text_encode": 0.02, "denoise": 0.93, "decode": 0.05},
    "stage_two": {
        "text_encode": 0.01,
        "decode_preview": 0.01,
        "upsample": 0.01,
        "encode": 0.07,
        "refine": 0.75,
        "decode": 0.15,
    },
}


def stage_progress(stage: Stage, progress: Progress) -> float:
    """How far a stage is, never less than it was a step before."""
    done = 0.0
    for phase, share in SHARES[stage].items():
        if phase == progress.phase:
            return min(done + share * progress.step / progress.num_steps, 1.0)
        done += share
    raise ValueError(f"{stage} has no phase {progress.phase!r}; it has {', '.join(SHARES[stage])}")
