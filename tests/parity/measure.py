"""How far fv-ray is from the released implementation: every case of golden/, through the public classes, in float32.

golden/README.md says what made the reference tensors and by which formulas.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from fv_ray import flow, noise_schedule, vae
from fv_ray.conversion import convert
from fv_ray.degradations.latent import degrade_latents
from fv_ray.guidance import dynamic_guidance_scales, guide
from fv_ray.noise import RecordedNoise
from fv_ray.schedulers import ZeroSNRDPMSolverScheduler, flow_euler_scheduler, solver_coefficients
from fv_ray.text_to_video import TextToVideo

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in (GOLDEN / "cases").glob("*.json"))

LAST_BIT_ROWS = {("stage1_sampler_toy", "x_traj"), ("stage1_sampler_toy", "x0_traj")}
"""Rows held to the case's `loose` tolerance: docs/parity.md says why."""

NOISE_TOLERANCE = 5e-6
"""Of float32 normal noise, r times the cosine or sine of an angle up to 2 pi; r is below 4.2 in this case.

Torch computes it by other code where a CPU has no AVX2. Two angles differ by a unit in the last place (4.8e-7) and the
error of float32's 2 pi (1.7e-7); logarithm, root, cosine and product by a few times 2**-24 of the value.
Together that is below 1.2e-6 times r.
"""


@dataclass(frozen=True)
class Row:
    """One reference tensor: the largest absolute difference to ours, and what is allowed."""

    case: str
    tensor: str
    difference: float
    tolerance: float
    """The case's `strict` one, but for `LAST_BIT_ROWS`."""


@dataclass(frozen=True)
class Case:
    """A reference case: its tensors and what its JSON file says of them."""

    name: str
    tensors: dict[str, Tensor]
    about: dict[str, Any]

    @classmethod
    def load(cls, name: str) -> "Case":
        folder = GOLDEN / "cases"
        about = json.loads((folder / f"{name}.json").read_text("utf-8"))
        return cls(name, load_file(folder / f"{name}.safetensors"), about)

    def row(self, tensor: str, ours: Tensor, tolerance: float | None = None) -> Row:
        expected = self.tensors[tensor]
        assert ours.shape == expected.shape, (self.name, tensor, ours.shape, expected.shape)
        difference = (ours.double() - expected.double()).abs().max().item()
        if tolerance is None:
            tolerance = self.about["tolerance"]["loose" if (self.name, tensor) in LAST_BIT_ROWS else "strict"]
        return Row(self.name, tensor, difference, tolerance)


def load_models(folder: Path) -> TextToVideo:
    """Convert the reference checkpoints into `folder` and load them."""
    released = GOLDEN / "checkpoints"
    convert(
        stage_one=released / "stage1.pt",
        stage_two=released / "stage2.pt",
        vae=released / "3d-vae.pt",
        text_encoder=None,
        output=folder,
        dtype=torch.float32,
    )
    return TextToVideo.from_pretrained(folder)


@torch.no_grad()
def measure(name: str, models: TextToVideo) -> list[Row]:
    """All rows of one case."""
    case = Case.load(name)
    if case.about["kind"] == "schedule":
        return list(_stage_one_schedules(case) if case.about["stage"] == 1 else _stage_two_schedules(case))
    if case.about["kind"] == "sampler":
        return list(_stage_one_sampler(case, models) if case.about["stage"] == 1 else _stage_two_sampler(case, models))
    kinds: dict[str, Callable[[Case, TextToVideo], Iterator[Row]]] = {
        "lora_merge": _lora_merge,
        "transformer": _transformer,
        "vae_decode": _vae_decode,
        "vae_encode": _vae_encode,
        "vae_tiled_decode": _vae_two_slices,
        "pipeline": _pipeline,
    }
    return list(kinds[case.about["kind"]](case, models))


def _lora_merge(case: Case, models: TextToVideo) -> Iterator[Row]:
    block = models.stage_one.transformer.transformer_blocks[0]
    attention = block.attn1
    qkv = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
    rows = case.tensors["qkv_rows"]
    # The case keeps some rows of each of q, k and v.
    num_each = len(rows) // 3
    kept = torch.cat([part[:num_each] for part in qkv.chunk(3)])
    yield case.row("qkv_rows", kept)
    yield case.row("dense_weight", attention.to_out[0].weight)
    yield case.row("adaln_rows", block.norm1.linear.weight[: len(case.tensors["adaln_rows"])])


def _transformer(case: Case, models: TextToVideo) -> Iterator[Row]:
    inputs = [case.tensors[name] for name in ("x", "context", "timesteps")]
    if case.about["stage"] == 1:
        yield case.row("out_merged", models.stage_one.transformer(*inputs).sample)
        return
    level = torch.full_like(case.tensors["timesteps"], case.about["sample_ref_noise_step"])
    yield case.row("out", models.stage_two.transformer(*inputs, level).sample)


def _stage_one_schedules(case: Case) -> Iterator[Row]:
    yield case.row("alpha_full_1000", torch.from_numpy(noise_schedule.full_table()), 2e-7)
    for steps in (51, 50, 25, 10):
        scheduler = ZeroSNRDPMSolverScheduler()
        scheduler.set_timesteps(steps)
        levels = noise_schedule.solver_levels(steps)
        yield case.row(f"timesteps_{steps}", scheduler.timesteps, 0)
        yield case.row(f"alpha_{steps}", torch.from_numpy(levels.copy()), 2e-7)
        network_levels = torch.tensor([level for level, _ in scheduler.network_scales])
        yield case.row(f"alpha_denoiser_{steps}", network_levels, 2e-7)
        weights = dynamic_guidance_scales(scheduler.timesteps, steps, 8.0)
        yield case.row(f"guidance_{steps}", weights, 1e-9)
        ours = torch.tensor(
            [
                [c.x_weight, -c.x0_weight, 1 + c.extrapolation, c.extrapolation, c.noise_weight]
                for c in solver_coefficients(levels)
            ]
        )
        expected = case.tensors[f"mult_{steps}"]
        relative = ((ours - expected).abs() / expected.abs().clamp(min=1e-30)).max().item()
        yield Row(case.name, f"mult_{steps} (relative)", relative, 1e-5)


def _stage_two_schedules(case: Case) -> Iterator[Row]:
    for tensor in case.tensors:
        if not tensor.startswith("t_"):
            continue
        steps, shift = (float(part[1:].removeprefix("hift")) for part in tensor.split("_")[1:3])
        dtype, tolerance = (torch.bfloat16, 0.0) if tensor.endswith("bf16") else (torch.float64, None)
        times = flow.time_grid(int(steps), shift, dtype)
        yield case.row(tensor, times, 2e-7 if tolerance is None else tolerance)
        told = flow.timesteps(times)[:-1]
        yield case.row(tensor.replace("t_", "timestep_", 1), told, 2e-4 if tolerance is None else tolerance)
    yield case.row("ref_alpha_table", torch.from_numpy(noise_schedule.full_table()), 2e-7)


def _toy(latents: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
    shift = 0.1 * torch.tanh(embeds.mean((1, 2))).view(-1, 1, 1, 1, 1) + 0.05 * torch.cos(timestep / 200)
    return 0.3 * latents + shift


def _stage_one_sampler(case: Case, models: TextToVideo) -> Iterator[Row]:
    tensors, steps = case.tensors, case.about["num_steps"]
    start, draws = tensors["x_traj"][0], tensors["noise_used"]
    if case.about["checkpoint"]:
        final = models.stage_one.denoise(
            tensors["cond"],
            latents_BFCHW=start,
            noise=RecordedNoise(list(draws)),
            num_inference_steps=steps,
            guidance_scale=case.about["cfg_scale"],
        )
        yield case.row("final", final)
    transformer = models.stage_one.transformer

    def predict(latents: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
        if not case.about["checkpoint"]:
            return _toy(latents, timestep, embeds)
        return transformer(latents, embeds, timestep.expand(1)).sample

    scheduler = ZeroSNRDPMSolverScheduler()
    scheduler.set_timesteps(steps)
    weights = dynamic_guidance_scales(scheduler.timesteps, steps, case.about["cfg_scale"]).tolist()
    sample, trajectory, estimates = start, [start], []
    for timestep, weight, draw in zip(scheduler.timesteps, weights, [*draws, None], strict=True):
        v = guide(predict(sample, timestep, tensors["uncond"]), predict(sample, timestep, tensors["cond"]), weight)
        sample, x0 = scheduler.step(v, timestep, sample, noise=draw, return_dict=False)
        trajectory.append(sample)
        estimates.append(x0)
    yield case.row("x_traj", torch.stack(trajectory))
    yield case.row("x0_traj", torch.stack(estimates), case.about["tolerance"].get("x0_traj"))


def _stage_two_sampler(case: Case, models: TextToVideo) -> Iterator[Row]:
    tensors, about = case.tensors, case.about
    settings = {"num_inference_steps": about["num_steps"], "shift": about["shift_t"]}
    if about["checkpoint"]:
        final = models.stage_two.denoise(
            tensors["ref_x"],
            tensors["cond"],
            noise=RecordedNoise([tensors["noise"]]),
            guidance_scale=about["cfg"],
            noise_level=about["ref_noise_step"],
            **settings,
        )
        yield case.row("final", final)
    level = torch.tensor([about["ref_noise_step"]])
    transformer = models.stage_two.transformer

    def predict(latents: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
        if not about["checkpoint"]:
            return _toy(latents, timestep, embeds)
        return transformer(latents, embeds, timestep.expand(1), level.float()).sample

    scheduler = flow_euler_scheduler(**settings)
    sample = degrade_latents(tensors["ref_x"], tensors["noise"], level)
    trajectory = [sample]
    for timestep in scheduler.timesteps:
        parts = (predict(sample, timestep, tensors[part]) for part in ("uncond", "cond"))
        sample = scheduler.step(-guide(*parts, about["cfg"]), timestep, sample).prev_sample
        trajectory.append(sample)
    yield case.row("x_traj", torch.stack(trajectory))


def _vae_decode(case: Case, models: TextToVideo) -> Iterator[Row]:
    yield case.row("video", vae.decode(models.stage_two.vae, case.tensors["z"]))


def _vae_encode(case: Case, models: TextToVideo) -> Iterator[Row]:
    chunks = case.about["frame_chunks"]
    source = Case.load(case.about["x_in_case"]).tensors if "x_in_case" in case.about else case.tensors
    lengths = [1 + (chunks[0] - 1) // 4, *(length // 4 for length in chunks[1:])]
    noise = RecordedNoise(case.tensors["noise"].split(lengths, dim=2))
    at_once = {"frames_per_chunk": 48} if chunks == [49] else {}
    yield case.row("moments", vae.moments(models.stage_two.vae, source["x"], **at_once))
    yield case.row("z", vae.encode(models.stage_two.vae, source["x"], noise=noise, **at_once))


def _vae_two_slices(case: Case, models: TextToVideo) -> Iterator[Row]:
    stage_two = models.stage_two
    latents = case.tensors["z"].transpose(1, 2) * stage_two.checkpoint.stage_two_scaling_factor
    yield case.row("frames", _shown(stage_two.decode(latents, slices=2), case.about["kept_frames"]))


def _pipeline(case: Case, models: TextToVideo) -> Iterator[Row]:
    tensors, kept = case.tensors, case.about["kept_frames"]
    tolerance = case.about["tolerance"]["strict"]
    stage_one, stage_two = models.stage_one, models.stage_two
    generator = torch.Generator().manual_seed(case.about["seed"])
    start = tensors["start_noise"]
    yield case.row("start_noise", torch.randn(start.shape, generator=generator), NOISE_TOLERANCE)
    steps = case.about["stage1_steps"]
    draws = [torch.randn(start.shape, generator=generator) for _ in range(1 + 2 * (steps - 2))]
    used = [draws[0], *draws[2::2]]  # of each later pair the first is thrown away

    latents = stage_one.denoise(
        tensors["cond1"],
        latents_BFCHW=start,
        noise=RecordedNoise(used),
        num_inference_steps=steps,
        guidance_scale=case.about["config"]["stage1"]["cfg"],
    )
    yield case.row("latent1", latents, tolerance["latent1"])
    frames = stage_one.decode(latents)
    yield case.row("video1_frames", _shown(frames, kept), tolerance["video1_frames"])
    frames = stage_two.resize(frames, *case.about["stage2_size"])
    yield case.row("ref_video_frames", frames[:, :, kept], tolerance["ref_video_frames"])
    latents = stage_two.encode(frames, noise=RecordedNoise(tensors["vae_noise"].split([5, 4, 4], dim=2)))
    yield case.row("ref_latent", latents, tolerance["ref_latent"])
    settings = case.about["config"]["stage2"]
    latents = stage_two.denoise(
        latents,
        tensors["cond2"],
        noise=RecordedNoise([tensors["ref_noise"]]),
        num_inference_steps=settings["sample_step"],
        guidance_scale=settings["cfg"],
        shift=settings["shift_t"],
        noise_level=settings["sample_ref_noise_step"],
    )
    yield case.row("latent2", latents, tolerance["latent2"])
    yield case.row("video2_frames", _shown(stage_two.decode(latents, slices=2), kept), tolerance["video2_frames"])


def _shown(frames_BCFHW: Tensor, kept: list[int]) -> Tensor:
    """Kept frames as the reference stores them: (F, H, W, C) on 0..255, not rounded."""
    return 255 * ((frames_BCFHW[0, :, kept].permute(1, 2, 3, 0) + 1) / 2).clamp(0, 1)
