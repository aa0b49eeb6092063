"""The samplers: they find what an exact model knows, whatever the number of steps."""

import pytest
import torch
from diffusers import CogVideoXDPMScheduler

from fv_ray.errors import InputError
from fv_ray.noise import SeededNoise
from fv_ray.schedulers import ZeroSNRDPMSolverScheduler, flow_euler_scheduler


@pytest.mark.parametrize("steps", [1, 2, 5, 25, 50, 51, 1000])
def test_stage_one_ends_at_the_clean_latents_of_an_exact_model(steps: int) -> None:
    scheduler = ZeroSNRDPMSolverScheduler()
    scheduler.set_timesteps(steps)
    clean, noise = torch.full((64,), 1.5), SeededNoise(0)
    sample = noise((64,))
    for index, timestep in enumerate(scheduler.timesteps):
        level, v_level = scheduler.network_scales[index]
        v = (level * sample - clean) / v_level
        draw = noise((64,)) if scheduler.needs_noise else None
        sample = scheduler.step(v, timestep, sample, noise=draw).prev_sample
    torch.testing.assert_close(sample, clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [50, 51])
def test_stage_one_keeps_the_variance_of_a_gaussian(steps: int) -> None:
    # Of x0 ~ N(0, s^2) the exact x0-prediction is a s^2 x / (a^2 s^2 + 1 - a^2).
    s2 = 0.25
    scheduler = ZeroSNRDPMSolverScheduler()
    scheduler.set_timesteps(steps)
    noise = SeededNoise(1)
    sample = noise((200_000,))
    for index, timestep in enumerate(scheduler.timesteps):
        level, v_level = scheduler.network_scales[index]
        x0 = level * s2 * sample / (level**2 * s2 + v_level**2)
        draw = noise((200_000,)) if scheduler.needs_noise else None
        sample = scheduler.step((level * sample - x0) / v_level, timestep, sample, noise=draw).prev_sample
    assert sample.std().item() == pytest.approx(0.491, abs=0.005)


def test_the_stock_scheduler_does_not_keep_it_for_51_steps() -> None:
    # Why there is a scheduler of ours: the stock one's last step ends at timestep 0 instead of at clean latents.
    s2 = 0.25
    scheduler = CogVideoXDPMScheduler(
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        prediction_type="v_prediction",
    )
    scheduler.set_timesteps(51)
    generator = torch.Generator().manual_seed(1)
    sample, x0_before, timestep_before = torch.randn(1, 200_000, generator=generator), None, None
    for timestep in scheduler.timesteps:
        a2 = scheduler.alphas_cumprod[timestep]
        level, v_level = a2.sqrt(), (1 - a2).sqrt()
        v = (level * sample - level * s2 * sample / (a2 * s2 + 1 - a2)) / v_level
        sample, x0_before = scheduler.step(
            v, x0_before, timestep, timestep_before, sample, generator=generator, return_dict=False
        )
        timestep_before = timestep
    assert sample.std().item() == pytest.approx(0.594, abs=0.005)


def test_a_second_run_forgets_the_first() -> None:
    scheduler = ZeroSNRDPMSolverScheduler()
    results = []
    for _ in range(2):
        scheduler.set_timesteps(3)
        noise, sample = SeededNoise(0), torch.ones(4)
        for timestep in scheduler.timesteps:
            draw = noise((4,)) if scheduler.needs_noise else None
            sample = scheduler.step(0.1 * sample, timestep, sample, noise=draw).prev_sample
        results.append(sample)
    assert torch.equal(*results)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(InputError, match=f"num_inference_steps is {steps}; it must be 1 to 1000"):
        ZeroSNRDPMSolverScheduler().set_timesteps(steps)


def test_a_step_without_its_noise() -> None:
    scheduler = ZeroSNRDPMSolverScheduler()
    scheduler.set_timesteps(2)
    with pytest.raises(InputError, match="step 0 adds noise and none was given"):
        scheduler.step(torch.zeros(1), 999, torch.zeros(1))


def test_a_step_too_many() -> None:
    scheduler = ZeroSNRDPMSolverScheduler()
    scheduler.set_timesteps(1)
    scheduler.step(torch.zeros(1), 999, torch.zeros(1))
    with pytest.raises(InputError, match="all 1 steps are taken"):
        scheduler.step(torch.zeros(1), 999, torch.zeros(1))


@pytest.mark.parametrize("steps", [1, 4, 5])
@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_stage_two_integrates_a_constant_velocity_exactly(steps: int, shift: float) -> None:
    scheduler = flow_euler_scheduler(steps, shift)
    z0, z1 = torch.randn(8), torch.randn(8)
    sample = z0
    for timestep in scheduler.timesteps:
        sample = scheduler.step(-(z1 - z0), timestep, sample).prev_sample
    torch.testing.assert_close(sample, z1)
    assert len(scheduler.timesteps) == steps
