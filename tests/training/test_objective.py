"""Objectives: zero at the solution, targets that integrate to the data, draws with the right statistics."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fv_ray import flow, noise_schedule
from fv_ray.schedulers import ZeroSNRDPMSolverScheduler
from fv_ray.training import objective

SHAPE = (3, 2, 4, 4, 6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=generator(seed))


@given(timestep=st.integers(0, 999))
def test_v_gives_back_latents_and_noise(timestep: int) -> None:
    latents, noise, timesteps = normal(1), normal(2), torch.full((3,), timestep)
    made = objective.stage_one_prediction(latents, noise, timesteps)
    a = float(noise_schedule.full_table()[timestep])
    sigma = (1 - a * a) ** 0.5
    torch.testing.assert_close(a * made.noisy_BFCHW - sigma * made.target_BFCHW, latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(sigma * made.noisy_BFCHW + a * made.target_BFCHW, noise, atol=1e-4, rtol=0)


def test_the_sampler_of_stage_one_reads_v_as_it_was_trained() -> None:
    # One step from pure noise with the true v ends at the clean latents.
    latents, noise = normal(1), normal(2)
    made = objective.stage_one_prediction(latents, noise, torch.full((3,), 999))
    torch.testing.assert_close(made.noisy_BFCHW, noise)
    scheduler = ZeroSNRDPMSolverScheduler()
    scheduler.set_timesteps(1)
    ended = scheduler.step(made.target_BFCHW, scheduler.timesteps[0], made.noisy_BFCHW).prev_sample
    torch.testing.assert_close(ended, latents)


def test_timesteps_are_per_sample() -> None:
    latents, noise, timesteps = normal(1), normal(2), torch.tensor([0, 500, 999])
    together = objective.stage_one_prediction(latents, noise, timesteps)
    alone = objective.stage_one_prediction(latents[1:2], noise[1:2], timesteps[1:2])
    torch.testing.assert_close(together.noisy_BFCHW[1:2], alone.noisy_BFCHW)
    torch.testing.assert_close(together.target_BFCHW[1:2], alone.target_BFCHW)


@given(t=st.floats(0, 1), level=st.integers(0, 999))
def test_the_velocity_reaches_the_clean_latents_in_one_step(t: float, level: int) -> None:
    degraded, clean, noise = normal(1), normal(2), normal(3)
    levels, times = torch.full((3,), level), torch.full((3,), t)
    made = objective.stage_two_prediction(degraded, clean, noise, levels, times)
    reached = made.noisy_BFCHW + (1 - times).view(-1, 1, 1, 1, 1) * made.target_BFCHW
    torch.testing.assert_close(reached, clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.timesteps_B, 1000 * (1 - times), atol=1e-3, rtol=0)


def test_loss_is_zero_at_the_solution_and_float32() -> None:
    target = normal(1)
    assert objective.prediction_loss(target.clone(), target) == 0
    half = objective.prediction_loss(target.bfloat16(), target)
    assert half.dtype == torch.float32
    assert 0 < half < 1e-4


def test_times_are_uniform_or_bent_like_the_sampler() -> None:
    uniform = objective.draw_times(20_000, generator())
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    bent = objective.draw_times(20_000, generator(), shift=2.5)
    torch.testing.assert_close(bent, flow.shifted(uniform.double(), 2.5).float(), atol=1e-5, rtol=0)
    assert bent.mean() < 0.4  # more time at the degraded end
    assert bent.min() >= 0
    assert bent.max() < 1


def test_ranks_share_the_timesteps() -> None:
    drawn = torch.cat([objective.draw_timesteps(5_000, generator(rank), rank, 4) for rank in range(4)])
    assert [int(part.min()) // 250 for part in drawn.view(4, -1)] == [0, 1, 2, 3]
    assert [int(part.max()) // 250 for part in drawn.view(4, -1)] == [0, 1, 2, 3]
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    assert drawn.float().mean().item() == pytest.approx(499.5, abs=5)


def test_dropped_text_is_the_zero_embedding() -> None:
    embeds = torch.randn(4_000, 2, 3, generator=generator())
    dropped = objective.drop_text(embeds, 0.1, generator(1))
    is_zero = (dropped == 0).all(dim=(1, 2))
    assert is_zero.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(dropped[~is_zero], embeds[~is_zero])
    assert torch.equal(objective.drop_text(embeds, 0.0, generator()), embeds)


def test_kl_is_zero_at_the_standard_normal_and_grows() -> None:
    assert objective.kl_loss(torch.zeros(1, 8, 1, 2, 2)) == 0
    shifted = torch.cat([torch.ones(1, 4, 1, 2, 2), torch.zeros(1, 4, 1, 2, 2)], dim=1)
    assert objective.kl_loss(shifted).item() == pytest.approx(0.5)
    assert objective.kl_loss(torch.full((1, 8, 1, 2, 2), -2.0)) > 0


def test_reconstruction_is_zero_at_the_frames_and_sees_edges() -> None:
    frames = torch.rand(1, 3, 2, 8, 8, generator=generator())
    assert objective.reconstruction_loss(frames, frames, gradient_weight=1.0) == 0
    lighter = frames + 0.1  # the same edges
    assert objective.reconstruction_loss(lighter, frames, 5.0).item() == pytest.approx(0.1, abs=1e-5)
    assert objective.reconstruction_loss(frames.flip(-1), frames, 5.0) > objective.reconstruction_loss(
        frames.flip(-1), frames
    )
