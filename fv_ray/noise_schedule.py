"""Signal levels a = sqrt(alpha_bar) of a zero-terminal-SNR schedule, after CogVideoX; pure functions.

Index 0 is clean, index 999 is pure noise (a = 0). SNR shift is 1, that is none, as in both released stages. float32
in numpy on purpose: its arithmetic and square root round correctly everywhere, torch's float32 functions differ in
the last bit between machines, and the sampler of stage one amplifies a last bit to 1e-6 relative.
"""

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.float32]

NUM_TRAIN_TIMESTEPS = 1000
BETA_START = 0.00085  # CogVideoX, scaled linear
BETA_END = 0.012


def signal_levels() -> Levels:
    """sqrt(alpha_bar) of the 1000 training timesteps before the zero-SNR rescale."""
    betas = np.linspace(BETA_START**0.5, BETA_END**0.5, NUM_TRAIN_TIMESTEPS, dtype=np.float64) ** 2
    return np.sqrt(np.cumprod(1 - betas).astype(np.float32))


def rescale_to_zero_terminal_snr(levels: Levels) -> Levels:
    """Shift and scale descending `levels` so that the last is 0 and the first keeps its value.

    Lin et al. 2023 (arXiv 2305.08891), algorithm 1. A single level is the noise end: 0.
    """
    if len(levels) == 1:
        return np.zeros_like(levels)
    first, last = levels[0], levels[-1]
    return (levels - last) * (first / (first - last))


def full_table() -> Levels:
    """The rescaled levels of all 1000 timesteps, clean to noise."""
    return rescale_to_zero_terminal_snr(signal_levels())


def selected_timesteps(num_inference_steps: int) -> list[int]:
    """floor(999 - 999 i / N) for i = 0..N-1: noise to clean.

    diffusers' "trailing" spacing differs in 11 of 51 entries.
    """
    last, n = NUM_TRAIN_TIMESTEPS - 1, num_inference_steps
    return [(last * (n - i)) // n for i in range(n)]


def solver_levels(num_inference_steps: int) -> Levels:
    """Levels of the N evaluations and the end, (N + 1,), noise to clean: from 0 to 1.

    The rescale acts on the selected levels alone, so that they are no subset of `full_table`.
    """
    ascending = selected_timesteps(num_inference_steps)[::-1]
    selected = rescale_to_zero_terminal_snr(signal_levels()[ascending])
    return np.append(selected[::-1], np.float32(1))


def nearest_levels(levels: Levels, table: Levels) -> Levels:
    """For each of `levels` the entry of `table` that is nearest."""
    return table[np.abs(levels[:, None] - table[None, :]).argmin(axis=1)]
