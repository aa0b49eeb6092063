"""Flow matching between degraded latents z0 (t = 0) and clean latents z1 (t = 1); pure functions.

Paper section 3.3: z_t = (1 - t) z0 + t z1, velocity v = z1 - z0. sigma = 1 - t, timestep = 1000 sigma.
"""

import torch
from torch import Tensor

NUM_TRAIN_TIMESTEPS = 1000


def interpolate(z0: Tensor, z1: Tensor, t: Tensor | float) -> Tensor:
    """The point at time `t` in [0, 1] on the straight path from `z0` to `z1` (broadcast over their shape)."""
    return (1 - t) * z0 + t * z1


def velocity(z0: Tensor, z1: Tensor) -> Tensor:
    """The path's velocity, the same at every time."""
    return z1 - z0


def time_grid(num_inference_steps: int, shift: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Times of the evaluations and the end: (num_inference_steps + 1,) from 0 to 1, in `dtype`.

    Even steps, `shifted`. The released scripts compute it in bfloat16, which moves the points: pass that `dtype` to
    walk theirs.
    """
    return shifted(torch.linspace(0, 1, num_inference_steps + 1, dtype=dtype), shift)


def shifted(times: Tensor, shift: float) -> Tensor:
    """Bend times in [0, 1] towards the degraded end: sigma' = s sigma / (1 + (s - 1) sigma) with sigma = 1 - t."""
    return 1 - shift * (1 - times) / (1 + (shift - 1) * (1 - times))


def timesteps(times: Tensor) -> Tensor:
    """What the transformer is told of each time: 1000 - 1000 t, in the dtype of `times`.

    5 steps with shift 2.5: 1000, 909.1, 789.5, 625, 384.6; in bfloat16 1000, 904, 784, 624, 384.
    """
    return NUM_TRAIN_TIMESTEPS - NUM_TRAIN_TIMESTEPS * times
