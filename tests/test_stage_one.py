"""Stage one: repeatable from its request, the same alone and in a batch, cancelled by its callback."""

import numpy as np
import pytest
import torch

from fv_ray.errors import InputError, NoiseError, NumericalError
from fv_ray.noise import RecordedNoise, SeededNoise
from fv_ray.stage_one import StageOne
from fv_ray.types import Preview, Progress, VideoRequest, with_prompt


@pytest.fixture(scope="module")
def preview(stage_one: StageOne, request_: VideoRequest) -> Preview:
    return stage_one.generate(request_)


def test_a_preview_says_all_that_stage_two_needs(stage_one: StageOne, request_: VideoRequest, preview: Preview) -> None:
    assert preview.request == request_
    assert preview.latents_FCHW.shape == (3, 16, 2, 4)
    assert preview.latents_FCHW.dtype == np.float32
    assert preview.latents_scaling_factor == 0.7
    assert preview.checkpoint_digest == stage_one.checkpoint.digest


def test_the_same_request_gives_the_same_bits(stage_one: StageOne, request_: VideoRequest, preview: Preview) -> None:
    again = stage_one.generate(request_)
    np.testing.assert_array_equal(again.latents_FCHW, preview.latents_FCHW)


@pytest.mark.parametrize("changes", [{"seed": 2}, {"prompt": "a blue cat"}])
def test_seed_and_prompt_matter(
    stage_one: StageOne, request_: VideoRequest, preview: Preview, changes: dict[str, object]
) -> None:
    other = stage_one.generate(VideoRequest.model_validate(request_.model_dump() | changes))
    assert np.abs(other.latents_FCHW - preview.latents_FCHW).max() > 1e-3


def test_a_batch_gives_what_its_requests_give_alone(
    stage_one: StageOne, request_: VideoRequest, preview: Preview
) -> None:
    other = VideoRequest.model_validate(request_.model_dump() | {"prompt": "a blue cat", "seed": 5})
    first, second = stage_one.generate_batch([request_, other])
    np.testing.assert_allclose(first.latents_FCHW, preview.latents_FCHW, atol=1e-4)
    np.testing.assert_allclose(second.latents_FCHW, stage_one.generate(other).latents_FCHW, atol=1e-4)
    assert second.request == other


def test_a_batch_of_differing_shapes(stage_one: StageOne, request_: VideoRequest) -> None:
    wider = stage_one.checkpoint.request("a fox", seed=1)
    with pytest.raises(InputError, match="the requests of a batch differ in stage one's parameters"):
        stage_one.generate_batch([request_, wider])
    with pytest.raises(InputError, match="the batch is empty"):
        stage_one.generate_batch([])


def test_a_size_that_the_checkpoint_cannot_make(stage_one: StageOne, request_: VideoRequest) -> None:
    sampling = request_.stage_one.model_copy(update={"height": 20})
    with pytest.raises(InputError, match="height of stage one is 20; .* use 16 or 32"):
        stage_one.generate(request_.model_copy(update={"stage_one": sampling}))


def test_progress_is_told_and_cancels(stage_one: StageOne, request_: VideoRequest) -> None:
    told: list[tuple[str, int, int]] = []
    stage_one.generate(request_, on_progress=lambda p: told.append((p.phase, p.step, p.num_steps)))
    assert told == [("text_encode", 0, 1), ("text_encode", 1, 1), *[("denoise", step, 3) for step in range(4)]]

    def cancel(progress: Progress) -> None:
        if (progress.phase, progress.step) == ("denoise", 1):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        stage_one.generate(request_, on_progress=cancel)


def test_denoise_takes_one_draw_for_each_step_but_the_last(stage_one: StageOne) -> None:
    embeds = torch.randn(1, 16, 64)
    start = SeededNoise(0)((1, 1, 16, 2, 2))
    settings = {"num_inference_steps": 3, "guidance_scale": 8.0}
    draws = [SeededNoise(n)(start.shape) for n in (1, 2)]
    latents = stage_one.denoise(embeds, latents_BFCHW=start, noise=RecordedNoise(draws), **settings)
    assert latents.shape == start.shape
    with pytest.raises(NoiseError, match="all 1 recorded draws are used"):
        stage_one.denoise(embeds, latents_BFCHW=start, noise=RecordedNoise(draws[:1]), **settings)


def test_inputs_are_left_as_they_were(stage_one: StageOne) -> None:
    embeds, start = torch.randn(1, 16, 64), torch.randn(1, 1, 16, 2, 2)
    copies = embeds.clone(), start.clone()
    stage_one.decode(
        stage_one.denoise(embeds, latents_BFCHW=start, noise=SeededNoise(0), num_inference_steps=2, guidance_scale=8.0)
    )
    assert torch.equal(embeds, copies[0])
    assert torch.equal(start, copies[1])


def test_latents_that_are_no_numbers(stage_one: StageOne) -> None:
    embeds = torch.full((1, 16, 64), torch.nan)
    start = torch.zeros(1, 1, 16, 2, 2)
    with pytest.raises(NumericalError, match="stage one gave numbers that are not finite"):
        stage_one.denoise(embeds, latents_BFCHW=start, noise=SeededNoise(0), num_inference_steps=2, guidance_scale=8.0)


def test_decoded_frames_and_their_pictures(stage_one: StageOne, preview: Preview) -> None:
    latents = torch.from_numpy(preview.latents_FCHW)[None]
    frames = stage_one.decode(latents)
    assert frames.shape == (1, 3, 9, 16, 32)
    chunks = list(stage_one.decode_chunks(latents))
    assert torch.equal(torch.cat(chunks, dim=2), frames)
    pictures = stage_one.preview_frames(preview)
    assert pictures.shape == (9, 16, 32, 3)
    expected = ((frames[0].permute(1, 2, 3, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    np.testing.assert_array_equal(pictures, expected)


def test_the_prefix_of_stage_one_stands_before_the_prompt(
    stage_one: StageOne, request_: VideoRequest, preview: Preview
) -> None:
    # "a red" before " fox" is the same text as none before "a red fox".
    sampling = request_.stage_one.model_copy(update={"prompt_prefix": "a red"})
    prefixed = with_prompt(request_, " fox").model_copy(update={"stage_one": sampling})
    np.testing.assert_array_equal(stage_one.generate(prefixed).latents_FCHW, preview.latents_FCHW)


def test_half_precision_stays_close(checkpoint: object, request_: VideoRequest, preview: Preview) -> None:
    half = StageOne.from_pretrained(str(checkpoint), dtype=torch.bfloat16)
    assert half.transformer.dtype == half.vae.dtype == torch.bfloat16
    latents = half.generate(request_).latents_FCHW
    assert (latents != preview.latents_FCHW).any()
    assert np.abs(latents - preview.latents_FCHW).mean() < 0.1 * np.abs(preview.latents_FCHW).mean()


def test_guidance_that_is_no_number(stage_one: StageOne) -> None:
    with pytest.raises(InputError, match="guidance_scale is inf; it must be a finite number"):
        stage_one.denoise(
            torch.randn(1, 16, 64),
            latents_BFCHW=torch.randn(1, 1, 16, 2, 2),
            noise=SeededNoise(0),
            num_inference_steps=2,
            guidance_scale=float("inf"),
        )


def test_the_dtype_of_latents_does_not_show_in_the_frames(stage_one: StageOne) -> None:
    latents = torch.randn(1, 1, 16, 2, 2).bfloat16()
    torch.testing.assert_close(stage_one.decode(latents), stage_one.decode(latents.float()), atol=0, rtol=0)
