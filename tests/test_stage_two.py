"""Stage two: the same bits from a stored preview, streamed or whole, and a refusal of what is not of the request."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fv_ray.errors import CheckpointError, InputError, NumericalError
from fv_ray.noise import RecordedNoise, SeededNoise
from fv_ray.stage_one import StageOne
from fv_ray.stage_two import StageTwo
from fv_ray.types import Preview, Progress, Video, VideoRequest, with_prompt


@pytest.fixture(scope="module")
def preview(stage_one: StageOne, request_: VideoRequest) -> Preview:
    return stage_one.generate(request_)


@pytest.fixture(scope="module")
def video(stage_two: StageTwo, request_: VideoRequest, preview: Preview) -> Video:
    return stage_two.refine(request_, preview)


def changed(request: VideoRequest, **stage_two: object) -> VideoRequest:
    return request.model_copy(update={"stage_two": request.stage_two.model_copy(update=stage_two)})


def test_a_video_has_the_size_that_was_asked_for(request_: VideoRequest, video: Video) -> None:
    assert video.frames_FHWC.shape == (9, 32, 64, 3)
    assert video.frames_FHWC.dtype == np.uint8
    assert video.request == request_
    assert video.fps == 8


def test_streamed_chunks_are_the_video(
    stage_two: StageTwo, request_: VideoRequest, preview: Preview, video: Video
) -> None:
    chunks = list(stage_two.refine_chunks(request_, preview))
    np.testing.assert_array_equal(np.concatenate(chunks), video.frames_FHWC)


@pytest.mark.parametrize(
    "change", [{"seed": 9}, {"noise_level": 600}, {"shift": 1.0}, {"guidance_scale": 1.0}, {"grid_dtype": "float32"}]
)
def test_every_parameter_matters(
    stage_two: StageTwo, request_: VideoRequest, preview: Preview, video: Video, change: dict[str, object]
) -> None:
    other = stage_two.refine(changed(request_, **change), preview)
    assert (other.frames_FHWC != video.frames_FHWC).any()


def test_an_edited_prompt_is_read(stage_two: StageTwo, request_: VideoRequest, preview: Preview, video: Video) -> None:
    other = stage_two.refine(with_prompt(request_, "a blue cat"), preview)
    assert (other.frames_FHWC != video.frames_FHWC).any()


def test_a_preview_of_another_checkpoint(stage_two: StageTwo, request_: VideoRequest, preview: Preview) -> None:
    with pytest.raises(InputError, match="the preview was made by checkpoint sha256:other"):
        stage_two.refine(request_, replace(preview, checkpoint_digest="sha256:other"))


@pytest.mark.parametrize("change", [{"seed": 2}, {"stage_one": "other"}])
def test_a_preview_of_another_request(
    stage_two: StageTwo, request_: VideoRequest, preview: Preview, change: dict[str, object]
) -> None:
    if "stage_one" in change:
        change = {"stage_one": request_.stage_one.model_copy(update={"num_inference_steps": 4})}
    with pytest.raises(InputError, match="seed or stage-one parameters are not those of the preview's request"):
        stage_two.refine(request_.model_copy(update=change), preview)


def test_a_size_that_the_checkpoint_cannot_make(stage_two: StageTwo, request_: VideoRequest, preview: Preview) -> None:
    with pytest.raises(InputError, match="width of stage two is 100; .* use 96 or 112"):
        stage_two.refine(changed(request_, width=100), preview)


def test_refusals_come_before_any_work(stage_two: StageTwo, request_: VideoRequest, preview: Preview) -> None:
    with pytest.raises(InputError):
        stage_two.refine_chunks(changed(request_, width=100), preview)  # at the call, not at the first chunk


def test_progress_is_told_and_cancels(stage_two: StageTwo, request_: VideoRequest, preview: Preview) -> None:
    told: list[Progress] = []
    stage_two.refine(request_, preview, on_progress=told.append)
    finished = [p.phase for p in told if p.is_done]
    assert finished == ["text_encode", "decode_preview", "upsample", "encode", "refine", "decode"]

    def cancel(progress: Progress) -> None:
        if (progress.phase, progress.step) == ("refine", 1):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        stage_two.refine(request_, preview, on_progress=cancel)


def test_no_guidance_is_the_conditional_prediction(stage_two: StageTwo) -> None:
    latents, embeds = torch.randn(1, 3, 16, 4, 4), torch.randn(1, 16, 64)
    settings = {"num_inference_steps": 2, "shift": 2.5, "noise_level": 675}
    off = stage_two.denoise(latents, embeds, noise=SeededNoise(0), guidance_scale=1, **settings)
    almost = stage_two.denoise(latents, embeds, noise=SeededNoise(0), guidance_scale=1 + 1e-6, **settings)
    torch.testing.assert_close(off, almost, atol=1e-4, rtol=0)


def test_guidance_has_nothing_to_say_for_the_zero_embedding(stage_two: StageTwo) -> None:
    # With the zero embedding as prompt, both predictions are one and guidance has nothing to say.
    latents, embeds = torch.randn(1, 3, 16, 4, 4), torch.zeros(1, 16, 64)
    settings = {"num_inference_steps": 2, "shift": 2.5, "noise_level": 675}
    weak = stage_two.denoise(latents, embeds, noise=SeededNoise(0), guidance_scale=2, **settings)
    strong = stage_two.denoise(latents, embeds, noise=SeededNoise(0), guidance_scale=13, **settings)
    torch.testing.assert_close(weak, strong, atol=1e-4, rtol=0)


def test_encode_draws_once_a_temporal_chunk(stage_two: StageTwo) -> None:
    frames = torch.rand(1, 3, 33, 16, 16) * 2 - 1
    draws = [torch.randn(1, 16, length, 2, 2) for length in (5, 4)]  # 17 and 16 frames
    latents = stage_two.encode(frames, noise=RecordedNoise(draws))
    assert latents.shape == (1, 9, 16, 2, 2)


def test_two_slices_are_another_decode_of_the_same_size(stage_two: StageTwo) -> None:
    latents = torch.randn(1, 3, 16, 2, 8)
    whole, sliced = stage_two.decode(latents), stage_two.decode(latents, slices=2)
    assert whole.shape == sliced.shape == (1, 3, 9, 16, 64)
    assert not torch.allclose(whole, sliced, atol=1e-3)


def test_inputs_are_left_as_they_were(stage_two: StageTwo) -> None:
    frames, embeds = torch.rand(1, 3, 5, 16, 16), torch.randn(1, 16, 64)
    copies = frames.clone(), embeds.clone()
    latents = stage_two.encode(frames, noise=SeededNoise(0))
    latents_copy = latents.clone()
    settings = {"num_inference_steps": 2, "guidance_scale": 13, "shift": 2.5, "noise_level": 675}
    stage_two.denoise(latents, embeds, noise=SeededNoise(0), **settings)
    stage_two.decode(latents)
    assert torch.equal(frames, copies[0])
    assert torch.equal(embeds, copies[1])
    assert torch.equal(latents, latents_copy)


def test_a_preview_without_text_encoder(stage_two: StageTwo, request_: VideoRequest, preview: Preview) -> None:
    mute = StageTwo(
        checkpoint=stage_two.checkpoint, transformer=stage_two.transformer, vae=stage_two.vae, text_encoder=None
    )
    with pytest.raises(CheckpointError, match="has no text encoder"):
        mute.refine(request_, preview)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": -1}, "num_inference_steps is -1"),
        ({"shift": 0.0}, "shift 0.0; allowed are 1 step or more and a finite shift above 0"),
        ({"shift": -1.0}, "shift -1.0"),
        ({"shift": float("nan")}, "shift nan"),
        ({"noise_level": -1}, "noise_level is -1; it must be an integer from 0 to 999"),
        ({"noise_level": 1000}, "noise_level is 1000"),
        ({"noise_level": 675.0}, r"noise_level is 675\.0"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan; it must be a finite number"),
    ],
)
def test_values_that_cannot_be(stage_two: StageTwo, change: dict[str, float], message: str) -> None:
    settings = {"num_inference_steps": 2, "guidance_scale": 13, "shift": 2.5, "noise_level": 675} | change
    with pytest.raises(InputError, match=message):
        stage_two.denoise(torch.randn(1, 1, 16, 2, 2), torch.randn(1, 16, 64), noise=SeededNoise(0), **settings)


@pytest.mark.parametrize(
    ("latents", "embeds", "message"),
    [
        ((1, 1, 16, 3, 4), (1, 16, 64), r"latents have shape \(1, 1, 16, 3, 4\); .* multiples of 16"),
        ((1, 1, 8, 2, 2), (1, 16, 64), r"allowed is \(batch, frames, 16, height, width\)"),
        ((1, 16, 2, 2), (1, 16, 64), "latents have shape"),
        ((1, 0, 16, 2, 2), (1, 16, 64), "latents have shape"),
        ((2, 1, 16, 2, 2), (1, 16, 64), r"prompt embeddings have shape \(1, 16, 64\); allowed is \(2, tokens, 64\)"),
        ((1, 1, 16, 2, 2), (1, 16, 32), r"allowed is \(1, tokens, 64\)"),
    ],
)
def test_shapes_that_cannot_be(
    stage_one: StageOne, stage_two: StageTwo, latents: tuple[int, ...], embeds: tuple[int, ...], message: str
) -> None:
    settings = {"num_inference_steps": 2, "guidance_scale": 8.0, "noise": SeededNoise(0)}
    with pytest.raises(InputError, match=message):
        stage_two.denoise(torch.randn(latents), torch.randn(embeds), **settings, shift=2.5, noise_level=675)
    with pytest.raises(InputError, match=message):
        stage_one.denoise(torch.randn(embeds), latents_BFCHW=torch.randn(latents), **settings)


def test_frames_that_are_no_floats(stage_two: StageTwo) -> None:
    frames = torch.zeros(1, 3, 5, 16, 16, dtype=torch.uint8)
    with pytest.raises(InputError, match="frames are torch.uint8"):
        stage_two.resize(frames, 32, 32)
    with pytest.raises(InputError, match="frames are torch.uint8"):
        stage_two.encode(frames, noise=SeededNoise(0))


def test_the_dtype_of_latents_does_not_show_in_the_frames(stage_two: StageTwo) -> None:
    latents = torch.randn(1, 1, 16, 2, 2).bfloat16()
    torch.testing.assert_close(stage_two.decode(latents), stage_two.decode(latents.float()), atol=0, rtol=0)


def test_frames_that_are_no_numbers_are_not_shown_as_black(
    checkpoint: Path, stage_one: StageOne, request_: VideoRequest, preview: Preview
) -> None:
    broken = StageTwo.from_pretrained(checkpoint)
    broken.vae.decoder.conv_out.conv.bias.data.fill_(torch.nan)
    with pytest.raises(NumericalError, match="the autoencoder gave numbers that are not finite"):
        broken.refine(request_, preview)
    mute = StageOne(checkpoint=broken.checkpoint, transformer=stage_one.transformer, vae=broken.vae, text_encoder=None)
    with pytest.raises(NumericalError, match="the autoencoder gave numbers that are not finite"):
        mute.preview_frames(preview)
