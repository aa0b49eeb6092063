"""Both stages in one process give what they give apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.preview_folder import read_preview, write_preview
from fv_ray.sidecar import Provenance
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.procedural.judge import judge
from fv_ray.types import VideoRequest


def test_one_go_and_a_commit_from_disk_in_fresh_stages_give_the_same_bits(
    models: TextToVideo, checkpoint: Path, request_: VideoRequest, tmp_path: Path
) -> None:
    in_one_go = models.generate(request_)

    stage_one = StageOne.from_pretrained(checkpoint)
    preview = stage_one.generate(request_)
    provenance = Provenance(stage_one.checkpoint, "cpu", "float32", "float32", 3, 0, {})
    write_preview(tmp_path, preview, stage_one.preview_frames(preview), provenance)
    committed = StageTwo.from_pretrained(checkpoint).refine(request_, read_preview(tmp_path))

    np.testing.assert_array_equal(committed.frames_FHWC, in_one_go.frames_FHWC)


def test_the_stages_share_their_text_encoder_and_vae(models: TextToVideo) -> None:
    assert models.stage_one.vae is models.stage_two.vae
    assert models.stage_one.text_encoder is models.stage_two.text_encoder
    assert models.checkpoint == models.stage_two.checkpoint


@pytest.fixture(scope="module")
def default_models() -> TextToVideo:
    return TextToVideo.from_pretrained(DEFAULT_MODEL)


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (
            "a large striped red star moves to the right over a dark background",
            {"shape": "star", "colour": "red", "texture": "stripes", "motion": "right", "background": "dark"},
        ),
        (
            "a big spotted blue ball floats upwards before a white backdrop",
            {"shape": "circle", "colour": "blue", "texture": "dots", "motion": "up", "background": "light"},
        ),
        (
            "a large plain green square on a sandy ground stays still",
            {"shape": "square", "colour": "green", "texture": "plain", "motion": "still", "background": "sand"},
        ),
    ],
)
def test_the_default_model_shows_what_the_prompt_says(
    default_models: TextToVideo, prompt: str, shown: dict[str, str]
) -> None:
    request = default_models.checkpoint.request(prompt, seed=1)
    seen = judge(default_models.generate(request).frames_FHWC).values
    assert {name: seen[name] for name in shown} == shown


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "mean_difference"), [(torch.float32, 0.5), (torch.bfloat16, 8.0)])
def test_a_gpu_gives_the_video_of_the_cpu(
    models: TextToVideo, checkpoint: Path, request_: VideoRequest, dtype: torch.dtype, mean_difference: float
) -> None:
    expected = models.generate(request_).frames_FHWC.astype(float)
    frames = TextToVideo.from_pretrained(checkpoint, device="cuda", dtype=dtype).generate(request_).frames_FHWC
    assert np.abs(frames - expected).mean() < mean_difference
