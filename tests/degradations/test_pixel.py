"""Pixel degradation: the same kind of clip comes back, poorer, and the same one for the same seed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fv_ray import pixels
from fv_ray.degradations.draws import Choice, Walk, evenly
from fv_ray.degradations.pixel import degrade_clip, draw_kernels
from fv_ray.degradations.recipes import FIRST_BLUR, flashvideo, second_order
from fv_ray.degradations.steps import (
    Blur,
    Interpolation,
    Jpeg,
    KernelFamily,
    Noise,
    Recipe,
    Resize,
    Shrink,
    Shuffled,
    Step,
    VideoCompression,
)
from fv_ray.errors import InputError

RECIPES = {
    "weak": replace(flashvideo(), strong_probability=0),
    "strong": replace(flashvideo(), strong_probability=1),
    "second order": replace(second_order(), strong_probability=1),
    "everything": replace(second_order(noise=1, jpeg=1, video_compression=1), strong_probability=1),
}
GAUSSIAN = KernelFamily("gaussian")
FAMILIES = FIRST_BLUR.families.options
INTERPOLATIONS: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic")
per_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def textured(num_frames: int = 3, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(3, num_frames, height, width, generator=seeded(9)) * 1.8 - 0.9


def only(*steps: Step) -> Recipe:
    return Recipe((), steps, 1)


def blur(sigma: float, family: KernelFamily = GAUSSIAN) -> Blur:
    return replace(FIRST_BLUR, sizes=evenly(21), families=evenly(family), sigma=Walk(sigma, sigma))


def shrink(factor: float) -> Shrink:
    return Shrink(Walk(factor, factor), evenly("bilinear"))


def noise(sigma: float, *, scale: float = 1, poisson: float = 0, grey: float = 0) -> Noise:
    return Noise(Walk(sigma, sigma), Walk(scale, scale), poisson_probability=poisson, grey_probability=grey)


def detail(frames_CFHW: Tensor) -> float:
    """Energy between neighbouring pixels."""
    return float(frames_CFHW.diff(dim=3).square().mean() + frames_CFHW.diff(dim=2).square().mean())


@per_recipe
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_dtype_device_and_range_are_kept(recipe: Recipe, dtype: torch.dtype) -> None:
    clip = textured().to(dtype)
    before = clip.clone()
    degraded = degrade_clip(clip, recipe, seeded())
    assert (degraded.shape, degraded.dtype, degraded.device) == (clip.shape, dtype, clip.device)
    assert degraded.abs().max() <= 1
    assert torch.equal(clip, before)


@per_recipe
def test_a_seed_repeats_and_another_does_not(recipe: Recipe) -> None:
    clip = textured()
    one = degrade_clip(clip, recipe, seeded(1))
    assert torch.equal(one, degrade_clip(clip, recipe, seeded(1)))
    assert not torch.equal(one, degrade_clip(clip, recipe, seeded(2)))
    torch.manual_seed(0)  # the global generator has no part in it
    assert torch.equal(one, degrade_clip(clip, recipe, seeded(1)))


@per_recipe
def test_every_clip_takes_one_draw(recipe: Recipe) -> None:
    used, other = seeded(), seeded()
    degrade_clip(textured(1, 16, 16), recipe, used)
    torch.randint(2**63 - 1, (), generator=other)
    assert torch.equal(used.get_state(), other.get_state())


@per_recipe
@pytest.mark.parametrize("size", [(1, 16, 16), (2, 17, 31), (1, 1, 5)])
def test_single_frames_and_small_sizes(recipe: Recipe, size: tuple[int, int, int]) -> None:
    for seed in range(6):
        degraded = degrade_clip(textured(*size), recipe, seeded(seed))
        assert degraded.shape == (3, *size)
        assert degraded.isfinite().all()


@pytest.mark.parametrize("name", ["weak", "strong", "second order"])
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.floats(-1, 1))
def test_flat_clips_stay_flat_under_blur_and_resize(name: str, seed: int, level: float) -> None:
    clip = torch.full((3, 2, 20, 24), level)
    torch.testing.assert_close(degrade_clip(clip, RECIPES[name], seeded(seed)), clip, atol=1e-5, rtol=0)


def test_both_branches_are_taken() -> None:
    recipe = Recipe(weak=(), strong=(blur(2),), strong_probability=0.25)
    clip, generator = textured(1, 16, 16), seeded()
    weak = sum(torch.equal(degrade_clip(clip, recipe, generator), clip) for _ in range(100))
    assert weak == pytest.approx(75, abs=15)


def test_no_steps_give_the_clip_within_its_range() -> None:
    clip = 2 * textured()
    assert torch.equal(degrade_clip(clip, only(), seeded()), clip.clamp(-1, 1))


def test_the_weak_branch_is_the_way_of_a_preview_down_and_up() -> None:
    clip = textured()
    expected = pixels.resize(pixels.resize(clip[None], 8, 12), 32, 48)[0]
    torch.testing.assert_close(degrade_clip(clip, only(shrink(4)), seeded()), expected)


@pytest.mark.parametrize("family", [GAUSSIAN, KernelFamily("plateau")])
def test_more_sigma_leaves_less_detail(family: KernelFamily) -> None:
    left = [detail(degrade_clip(textured(), only(blur(sigma, family)), seeded())) for sigma in (0.2, 0.6, 1, 2, 3)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.1 * left[0]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_smaller_sizes_leave_less_detail(interpolation: Interpolation) -> None:
    steps = [Shrink(Walk(factor, factor), evenly(interpolation)) for factor in (1, 2, 4, 8)]
    left = [detail(degrade_clip(textured(), only(step), seeded())) for step in steps]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.05 * left[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_change_little_from_frame_to_frame(family: KernelFamily) -> None:
    kernels = draw_kernels(replace(FIRST_BLUR, families=evenly(family)), 12, seeded(5))
    assert kernels.shape[0] == 12
    steps = kernels.diff(dim=0).flatten(1).abs().sum(1)
    assert steps.max() > 0
    assert steps.max() < 0.5  # of 2 between kernels that share no pixel
    isotropic = torch.allclose(kernels, kernels.transpose(1, 2), atol=1e-6)
    assert isotropic == family.is_isotropic


def test_small_sincs_have_higher_cutoffs() -> None:
    step = replace(FIRST_BLUR, families=evenly(KernelFamily("sinc")), omega=Walk(1, 1), omega_small=Walk(3, 3))
    wide = draw_kernels(replace(step, sizes=evenly(13)), 1, seeded())
    narrow = draw_kernels(replace(step, sizes=evenly(11)), 1, seeded())
    assert narrow.max() > 3 * wide.max()


def test_a_blur_filters_each_frame_with_its_own_kernel() -> None:
    step = replace(FIRST_BLUR, families=evenly(GAUSSIAN), sigma=Walk(0.3, 3, step=1))
    clip = torch.zeros(3, 4, 41, 41)
    clip[:, :, 20, 20] = 1  # a point shows the kernel
    degraded = degrade_clip(clip, only(step), seeded(2))
    assert degraded[0, :, 20, 20].unique().numel() == 4
    torch.testing.assert_close(degraded.sum((2, 3)), torch.ones(3, 4))
    torch.testing.assert_close(degraded[0], degraded[2])


def test_beyond_the_border_a_frame_is_mirrored() -> None:
    ramp = torch.linspace(-0.5, 0.5, 16).expand(3, 1, 16, 16)
    mirrored = torch.nn.functional.pad(ramp[:, 0], (10, 10, 10, 10), mode="reflect")[:, None]
    inside = degrade_clip(mirrored, only(blur(1.5)), seeded())[:, :, 10:-10, 10:-10]
    torch.testing.assert_close(degrade_clip(ramp, only(blur(1.5)), seeded()), inside)


def test_a_resize_gives_each_frame_its_own_size() -> None:
    clip = textured(1, 64, 64).expand(3, 6, 64, 64)
    walking = Resize(evenly(Walk(0.2, 0.4, step=0.05)), evenly("bilinear"))
    frames = degrade_clip(clip, only(walking), seeded()).unbind(1)
    assert any(not torch.equal(frames[0], frame) for frame in frames[1:])
    still = Resize(evenly(Walk(0.25, 0.25)), evenly("bilinear"))
    torch.testing.assert_close(degrade_clip(clip, only(still), seeded()), degrade_clip(clip, only(shrink(4)), seeded()))


def test_gaussian_noise_has_its_strength_in_levels() -> None:
    flat = torch.zeros(3, 2, 64, 64)
    coloured = degrade_clip(flat, only(noise(20)), seeded()) * 127.5
    assert coloured.std().item() == pytest.approx(20, rel=0.05)
    assert not torch.equal(coloured[:, 0], coloured[:, 1])
    grey = degrade_clip(flat, only(noise(20, grey=1)), seeded())
    assert torch.equal(grey[0], grey[2])
    assert not torch.equal(coloured[0], coloured[2])


@pytest.mark.parametrize("grey", [0, 1])
def test_poisson_noise_grows_with_light(grey: float) -> None:
    ramp = torch.tensor([-1.0, -0.5, 0.5]).view(1, 3, 1, 1).expand(3, 3, 64, 64)
    noisy = degrade_clip(ramp, only(noise(0, poisson=1, grey=grey)), seeded())
    black, dark, light = ((noisy - ramp) / 2).std(dim=(0, 2, 3)).tolist()
    assert black < 1e-6
    assert dark == pytest.approx(math.sqrt(0.25 / 256), rel=0.05)
    assert light == pytest.approx(math.sqrt(0.75 / 256), rel=0.05)


def test_compression_of_frames_of_several_sizes() -> None:
    walking = Resize(evenly(Walk(0.3, 0.9, step=0.3)), evenly("area"))
    codecs = VideoCompression(Choice(("libx264", "mpeg4"), (0.5, 0.5)), Walk(0.1, 0.1))
    clip = textured(4)
    for seed in range(4):
        plain = degrade_clip(clip, only(walking), seeded(seed))
        for compressed in (codecs, Jpeg(Walk(30, 95, step=3))):
            assert not torch.equal(degrade_clip(clip, only(walking, compressed), seeded(seed)), plain)


def test_groups_run_in_both_orders_and_keep_their_draws() -> None:
    groups: tuple[tuple[Step, ...], ...] = ((noise(30),), (blur(2),))
    clip = textured(1)
    drawn = [degrade_clip(clip, only(Shuffled(groups)), seeded(seed)) for seed in range(12)]
    blurred_last = [detail(frames) < 0.01 for frames in drawn]
    assert any(blurred_last)
    assert not all(blurred_last)


def test_a_step_that_is_off_changes_no_other_draw() -> None:
    off = replace(noise(30), probability=0)
    on = replace(noise(0), probability=1)  # it draws, and adds nothing
    before, after = (degrade_clip(textured(), only(FIRST_BLUR, step, FIRST_BLUR), seeded(4)) for step in (off, on))
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(3, 2, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 3, 2, 16, 16),
        torch.zeros(2, 3, 16, 16),
        torch.zeros(3, 0, 16, 16),
        torch.zeros(3, 2, 16, 0),
    ],
    ids=lambda frames: f"{frames.dtype} {tuple(frames.shape)}",
)
def test_frames_of_another_kind_are_refused(frames: Tensor) -> None:
    with pytest.raises(InputError, match=r"the frames are .* of shape .*; allowed are float RGB frames .*: convert"):
        degrade_clip(frames, flashvideo(), seeded())


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["weak", "strong", "second order"])  # a codec turns rounding into other decisions
def test_a_gpu_gives_what_the_cpu_gives(name: str) -> None:
    clip = textured()
    on_gpu = degrade_clip(clip.cuda(), RECIPES[name], seeded())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), degrade_clip(clip, RECIPES[name], seeded()), atol=0.01, rtol=0)


@pytest.mark.gpu
def test_a_generator_on_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match=r"the generator is on cuda.*; allowed is the CPU, .*: give torch"):
        degrade_clip(textured(), flashvideo(), torch.Generator("cuda"))
