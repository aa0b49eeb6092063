"""The sidecar: seconds of each phase, and what made a result."""

import hashlib
from pathlib import Path

import pytest

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.sidecar import LoraRecord, PhaseSeconds, Provenance, Sidecar, build_sidecar, record
from fv_ray.types import Progress, VideoRequest
from fv_ray.video_io import VideoFileInfo


def test_phase_seconds() -> None:
    forwarded: list[Progress] = []
    phases = PhaseSeconds(forwarded.append)
    events = [
        Progress("text_encode", 0, 1, 0.0),
        Progress("text_encode", 1, 1, 0.5),
        Progress("denoise", 0, 2, 0.0),
        Progress("denoise", 1, 2, 1.0),
        Progress("denoise", 2, 2, 2.0),
        Progress("text_encode", 1, 1, 0.25),
        Progress("refine", 1, 4, 9.0),
    ]
    for event in events:
        phases(event)
    assert list(phases.seconds.items()) == [("text_encode", 0.75), ("denoise", 2.0)]
    assert forwarded == events
    PhaseSeconds()(events[0])


def test_phase_seconds_passes_a_cancellation_on() -> None:
    def cancel(_progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PhaseSeconds(cancel)(Progress("denoise", 0, 2, 0.0))


def test_a_sidecar_says_what_made_a_result(checkpoint: Path, request_: VideoRequest, tmp_path: Path) -> None:
    lora = tmp_path / "style.safetensors"
    lora.write_bytes(b"weights")
    provenance = Provenance(
        checkpoint=CheckpointInfo.read(checkpoint),
        device="cpu",
        dtype="float32",
        vae_dtype="float32",
        num_function_evaluations=3,
        num_prompt_tokens_cut=0,
        phase_seconds={"denoise": 1.5},
        loras={lora: 0.5},
    )
    clip = VideoFileInfo(num_frames=9, height=16, width=32, fps=8, crf=18, preset="medium", size_bytes=7)
    made = build_sidecar("preview", request_, provenance, clip, {"style": record(lora)})
    digest = hashlib.sha256(b"weights").hexdigest()
    assert made.loras == [LoraRecord(file="style.safetensors", sha256=digest, scale=0.5)]
    assert made.files["style"].size_bytes == 7
    assert made.duration_s == 9 / 8
    assert made.stage_two_seed == request_.stage_two_seed
    assert {"fv_ray", "torch", "diffusers", "python"} <= made.versions.keys()
    assert Sidecar.model_validate_json(made.model_dump_json()) == made
