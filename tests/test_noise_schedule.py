"""Zero-terminal-SNR tables: their ends, their order, and the published values."""

import numpy as np
import pytest

from fv_ray import noise_schedule


def test_full_table_falls_from_its_first_level_to_zero() -> None:
    table = noise_schedule.full_table()
    assert table[0] == noise_schedule.signal_levels()[0]
    assert table[-1] == 0
    assert (np.diff(table) < 0).all()


@pytest.mark.parametrize(("index", "level"), [(400, 0.62601), (600, 0.35710), (675, 0.26396), (900, 0.05441)])
def test_published_levels(index: int, level: float) -> None:
    assert noise_schedule.full_table()[index] == pytest.approx(level, abs=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 25, 50, 51, 999, 1000])
def test_solver_levels_rise_from_noise_to_clean(steps: int) -> None:
    timesteps = noise_schedule.selected_timesteps(steps)
    levels = noise_schedule.solver_levels(steps)
    assert timesteps[0] == 999
    assert len(set(timesteps)) == len(timesteps) == steps
    assert timesteps == [int(t) for t in np.linspace(999, 0, steps, endpoint=False)]
    assert levels[0] == 0
    assert levels[-1] == 1
    assert (np.diff(levels) > 0).all()


def test_subset_is_rescaled_on_its_own() -> None:
    steps = noise_schedule.selected_timesteps(51)
    from_full = noise_schedule.full_table()[steps]
    assert np.abs(noise_schedule.solver_levels(51)[:-1] - from_full).max() > 1e-4


def test_nearest_levels() -> None:
    table = np.array([0.9, 0.5, 0.1], dtype=np.float32)
    wanted = np.array([0.45, 0.95, 0.0], dtype=np.float32)
    np.testing.assert_array_equal(noise_schedule.nearest_levels(wanted, table), table[[1, 0, 2]])
