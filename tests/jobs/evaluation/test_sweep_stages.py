"""Studies on the tiny checkpoint without Ray: each setting once a prompt, and settings that change what they should."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fv_ray import metrics, pixels, vae
from fv_ray.text_to_video import TextToVideo
from jobs.evaluation.choose_prompts import Prompt, true_clips, world_prompts
from jobs.evaluation.make_clips import Making
from jobs.evaluation.sweep_stages import (
    EVALUATIONS,
    NUM_STRAIGHTNESS_EVALUATIONS,
    STAGE_ONE_GUIDANCE,
    STUDIES,
    Record,
    curves,
    true_preview,
)

pytestmark = pytest.mark.filterwarnings("ignore::fv_ray.errors.PromptTooLong")  # the tiny encoder reads 16 tokens


@pytest.fixture(scope="module")
def making(small_checkpoint: Path) -> Making:
    return Making(str(small_checkpoint))


@pytest.fixture(scope="module")
def small_models(making: Making) -> TextToVideo:
    return making.load()


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return world_prompts(2, "held_out", 0)


def test_a_true_preview_is_decoded_as_the_autoencoder_knows_it(
    small_models: TextToVideo, making: Making, prompts: list[Prompt]
) -> None:
    request = making.request(small_models.checkpoint, prompts[0])
    low_FHWC, truth_FHWC = true_clips(prompts[0], request)
    assert metrics.faithfulness(truth_FHWC, low_FHWC) > 45
    preview = true_preview(small_models, request, low_FHWC)
    assert preview.latents_FCHW.shape == small_models.stage_one.generate(request).latents_FCHW.shape
    decoded = pixels.to_uint8(small_models.stage_two.decode_preview(preview)[0])
    np.testing.assert_array_equal(decoded, small_models.stage_one.preview_frames(preview))
    frames_BCFHW = torch.from_numpy(low_FHWC).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    mean_BCFHW = small_models.stage_two.vae.encode(frames_BCFHW).latent_dist.mode()
    again = vae.decode(small_models.stage_two.vae, mean_BCFHW)
    assert metrics.psnr(decoded, pixels.to_uint8(again[0])) > 45


def test_upsampling_compares_three_ways(small_models: TextToVideo, making: Making, prompts: list[Prompt]) -> None:
    records = STUDIES["upsampling"](small_models, making, prompts[1:])
    assert [record.number for record in records] == [1]
    assert all(
        record.figures.keys()
        == {
            f"{way}_{figure}"
            for way in ("stage_two", "bilinear", "autoencoder")
            for figure in ("psnr", "ssim", "texture")
        }
        for record in records
    )
    assert all(record.figures["stage_two_psnr"] != record.figures["bilinear_psnr"] for record in records)


def test_a_refining_study_changes_its_parameter_alone(
    small_models: TextToVideo, making: Making, prompts: list[Prompt]
) -> None:
    records = STUDIES["evaluations"](small_models, making, prompts[:1])
    assert [record.setting for record in records] == list(EVALUATIONS)
    assert len({record.figures["psnr"] for record in records}) == len(EVALUATIONS)
    default = STUDIES["upsampling"](small_models, making, prompts[:1])[0].figures["stage_two_psnr"]
    assert records[EVALUATIONS.index(2)].figures["psnr"] == default  # 2 are the preset's


def test_stage_one_guidance_is_judged_on_previews(
    small_models: TextToVideo, making: Making, prompts: list[Prompt]
) -> None:
    records = STUDIES["stage_one_guidance"](small_models, making, prompts)
    assert {(record.setting, record.number) for record in records} == {
        (scale, number) for scale in STAGE_ONE_GUIDANCE for number in (0, 1)
    }
    assert all(record.figures.keys() == prompts[record.number].expected.keys() for record in records)


def test_straightness_has_an_angle_between_evaluations(
    small_models: TextToVideo, making: Making, prompts: list[Prompt]
) -> None:
    records = STUDIES["straightness"](small_models, making, prompts[:1])
    assert [record.setting for record in records] == list(range(1, NUM_STRAIGHTNESS_EVALUATIONS))
    assert all(0 < record.figures["degrees"] < 180 for record in records)


def test_curves_average_over_the_prompts_that_ask() -> None:
    records = [
        Record("noise_level", 500, 0, {"psnr": 20.0, "size": 1.0}),
        Record("noise_level", 500, 1, {"psnr": 22.0}),
        Record("noise_level", 600, 0, {"psnr": 10.0, "size": 0.0}),
        Record("other", 600, 0, {"psnr": 0.0}),
    ]
    assert curves(records, "noise_level") == {"psnr": {500: 21, 600: 10}, "size": {500: 1, 600: 0}}
