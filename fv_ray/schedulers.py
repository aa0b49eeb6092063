"""The two samplers behind diffusers' scheduler contract (`set_timesteps`, `timesteps`, `step`)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor

from fv_ray import flow, noise_schedule
from fv_ray.errors import InputError
from fv_ray.noise_schedule import Levels


@dataclass
class DPMSolverOutput:
    """One step's result; both (B, F, C, H, W)."""

    prev_sample: Tensor
    pred_original_sample: Tensor


@dataclass(frozen=True)
class SolverCoefficients:
    """One step: x <- x_weight x + x0_weight D + noise_weight eps.

    D = (1 + extrapolation) x0 - extrapolation previous_x0.
    """

    x_weight: float
    x0_weight: float
    noise_weight: float
    extrapolation: float


class ZeroSNRDPMSolverScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Stage one's stochastic DPM-Solver++ 2M over the zero-terminal-SNR subset, v-prediction.

    SDE-DPM-Solver++(2M) of Lu et al. 2022 in its variance-preserving form. Unlike diffusers' CogVideoXDPMScheduler the
    zero-SNR rescale is applied to the selected levels alone, the network's level is the nearest of the full table, and
    any number of steps ends at clean latents.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(self) -> None:
        self.timesteps = torch.empty(0, dtype=torch.long)
        self._coefficients: list[SolverCoefficients] = []
        self.network_scales: list[tuple[float, float]] = []
        """For each step a and sqrt(1 - a^2) of x0 = a x - sqrt(1 - a^2) v."""
        self._step_index = 0
        self._previous_x0: Tensor | None = None

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Make the tables for `num_inference_steps` evaluations and forget an earlier run."""
        n = num_inference_steps
        if not 1 <= n <= noise_schedule.NUM_TRAIN_TIMESTEPS:
            raise InputError(f"num_inference_steps is {n}; it must be 1 to {noise_schedule.NUM_TRAIN_TIMESTEPS}")
        levels = noise_schedule.solver_levels(n)
        network_levels = noise_schedule.nearest_levels(levels[:-1], noise_schedule.full_table())
        self.timesteps = torch.tensor(noise_schedule.selected_timesteps(n), device=device)
        v_levels = np.sqrt(1 - network_levels * network_levels)
        self.network_scales = list(zip(network_levels.tolist(), v_levels.tolist(), strict=True))
        self._coefficients = solver_coefficients(levels)
        self._step_index = 0
        self._previous_x0 = None

    def scale_model_input(self, sample: Tensor, timestep: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return `sample` as it is: this schedule has no input scaling."""
        return sample

    @property
    def needs_noise(self) -> bool:
        """Whether the next step adds noise; the last one does not."""
        return self._step_index < len(self._coefficients)

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | int,  # noqa: ARG002
        sample: Tensor,
        *,
        noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> DPMSolverOutput | tuple[Tensor, Tensor]:
        """Take the next step, in the order of `timesteps`.

        Args:
            model_output: the guided v prediction, of the shape of `sample`.
            timestep: the step's entry of `timesteps`; the order decides, as in diffusers' multistep schedulers.
            sample: the latents before the step.
            noise: standard normal, of the shape of `sample`; not needed where `needs_noise` is false.
            return_dict: False returns the two tensors as a tuple.
        """
        if self._step_index == len(self.network_scales):
            raise InputError(f"all {self._step_index} steps are taken; call set_timesteps for another run")
        level, v_level = self.network_scales[self._step_index]
        x0 = level * sample - v_level * model_output
        prev_sample = self._advance(sample, x0, noise) if self.needs_noise else x0
        self._previous_x0 = x0
        self._step_index += 1
        return DPMSolverOutput(prev_sample, x0) if return_dict else (prev_sample, x0)

    def _advance(self, sample: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            raise InputError(f"step {self._step_index} adds noise and none was given; pass one draw like the latents")
        c = self._coefficients[self._step_index]
        target = x0
        if self._previous_x0 is not None:
            target = (1 + c.extrapolation) * x0 - c.extrapolation * self._previous_x0
        return c.x_weight * sample + c.x0_weight * target + c.noise_weight * noise


def solver_coefficients(levels: Levels) -> list[SolverCoefficients]:
    """Coefficients of all steps but the last; `levels` ascends from 0 to 1, (N + 1,).

    With lambda(a) = log(a / sqrt(1 - a^2)) and h = lambda_next - lambda (Lu et al. 2022, arXiv 2211.01095, eq. 18 in
    its stochastic form). Each operation rounds to float32, as the released sampler's does: h is a small difference of
    large logarithms, and exact arithmetic walks measurably elsewhere.
    """
    signal = levels * levels
    with np.errstate(divide="ignore"):  # the first level is 0: lambda is -inf and its h inf, which the formulas want
        log_snr = _rounded(np.log, np.sqrt(signal[:-1] / (1 - signal[:-1])))
    h = np.diff(log_snr)
    noise = np.sqrt(1 - signal)
    decay = np.sqrt((1 - signal[1:-1]) / (1 - signal[:-2])) * _rounded(np.exp, -h)
    x0_weight = -_rounded(np.expm1, -2 * h) * levels[1:-1]
    noise_weight = noise[1:-1] * np.sqrt(1 - _rounded(np.exp, -2 * h))
    extrapolation = np.zeros_like(h)
    extrapolation[1:] = 1 / (2 * (h[:-1] / h[1:]))
    rows = zip(decay, x0_weight, noise_weight, extrapolation, strict=True)
    return [SolverCoefficients(*map(float, row)) for row in rows]


def _rounded(function: np.ufunc, x: Levels) -> Levels:
    """`function` correctly rounded to float32: libraries' own float32 versions differ in the last bit."""
    return function(x.astype(np.float64)).astype(np.float32)


def flow_euler_scheduler(
    num_inference_steps: int,
    shift: float,
    grid_dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> FlowMatchEulerDiscreteScheduler:
    """Stage two's Euler steps: diffusers' flow scheduler on our time grid, ready at its first step.

    diffusers counts sigma = 1 - t downwards, so that the velocity z1 - z0 enters its `step` negated.

    Raises:
        InputError: for a number of steps or a shift that is not allowed.
    """
    if num_inference_steps < 1 or not 0 < shift < math.inf:
        raise InputError(
            f"num_inference_steps is {num_inference_steps} and shift {shift}; allowed are 1 step or more and a finite "
            "shift above 0"
        )
    exact = torch.float64 if grid_dtype == torch.float32 else grid_dtype
    times = flow.time_grid(num_inference_steps, shift, exact)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(
        sigmas=(1 - times.double())[:-1].tolist(), timesteps=flow.timesteps(times)[:-1].tolist(), device=device
    )
    scheduler.set_begin_index(0)
    return scheduler
