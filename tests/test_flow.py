"""Flow matching: properties of the path and of the time grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fv_ray import flow


def test_path_runs_from_degraded_to_clean() -> None:
    z0, z1 = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(flow.interpolate(z0, z1, 0.0), z0)
    torch.testing.assert_close(flow.interpolate(z0, z1, 1.0), z1)


@given(t=st.floats(0, 1))
def test_velocity_integrates_to_the_target_in_one_step(t: float) -> None:
    z0, z1 = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    reached = flow.interpolate(z0, z1, t) + (1 - t) * flow.velocity(z0, z1)
    torch.testing.assert_close(reached, z1)


@given(steps=st.integers(1, 50), shift=st.floats(0.1, 20))
def test_grid_rises_from_0_to_1(steps: int, shift: float) -> None:
    times = flow.time_grid(steps, shift)
    assert abs(times[0]) < 1e-12
    assert times[-1] == 1
    assert (times.diff() > 0).all()


def test_shift_1_is_even() -> None:
    torch.testing.assert_close(flow.time_grid(4, 1.0), torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64))


@pytest.mark.parametrize(
    ("dtype", "told"),
    [(torch.float64, [1000, 909.09, 789.47, 625, 384.62]), (torch.bfloat16, [1000, 904, 784, 624, 384])],
)
def test_timesteps_of_five_steps(dtype: torch.dtype, told: list[float]) -> None:
    timesteps = flow.timesteps(flow.time_grid(5, 2.5, dtype))[:-1].double()
    torch.testing.assert_close(timesteps, torch.tensor(told, dtype=torch.float64), atol=0.01, rtol=0)
