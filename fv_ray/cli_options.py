"""What a person writes on the command line, and the values it means.

Every start of the command imports this: what only some commands need is imported where it is used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fv_ray.errors import InputError

if TYPE_CHECKING:
    from fv_ray.presets import ClipSize


def embedded_model() -> Path:
    """The checkpoint that a command takes where none is given."""
    from fv_ray.checkpoint import DEFAULT_MODEL

    return DEFAULT_MODEL


Checkpoint = Annotated[
    Path,
    typer.Option(help="A checkpoint folder.", default_factory=embedded_model, show_default="the embedded model"),
]
Device = Annotated[str | None, typer.Option(help="cuda, cuda:1, cpu ... Default: cuda where there is one.")]
Dtype = Annotated[
    Literal["bfloat16", "float32"] | None, typer.Option(help="Default: bfloat16 on a GPU, float32 on a CPU.")
]
AttentionBackend = Annotated[str, typer.Option(help="diffusers' name of an attention kernel.")]
RefineSteps = Annotated[int | None, typer.Option(help="Evaluations of stage two's transformer.")]
RefineGuidance = Annotated[float | None, typer.Option(help="Guidance of stage two; 1 is off.")]
RefineSize = Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the video, multiples of 16.")]
Shift = Annotated[float | None, typer.Option(help="Time shift of stage two; 1 is none.")]
NoiseLevel = Annotated[int | None, typer.Option(help="Noise that stage two starts from, 0 to 999.")]
DecodeSlices = Annotated[int | None, typer.Option(help="2 decodes in two slices, as the released scripts do.")]
Crf = Annotated[int, typer.Option(help="x264's rate factor: 0 is lossless, 51 the smallest file.")]
X264Preset = Annotated[str, typer.Option(help="x264's preset, ultrafast to placebo.")]


def prompts(prompt: str | None, prompt_file: Path | None) -> list[str]:
    """The one prompt, or those of the file, one a line."""
    if (prompt is None) == (prompt_file is None):
        raise InputError("give either a prompt or --prompt-file, one of the two")
    if prompt_file is None:
        return [prompt or ""]
    try:
        lines = prompt_file.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{prompt_file} cannot be read ({error}); give a UTF-8 text file") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"{prompt_file} holds no prompt; write one a line")
    return prompts


def given(**values: Any) -> dict[str, Any]:  # noqa: ANN401
    """The options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def stage_two_changes(
    steps: int | None,
    guidance: float | None,
    size: str | None,
    shift: float | None,
    noise_level: int | None,
    decode_slices: int | None,
) -> dict[str, Any]:
    """Stage two's parameters that were given."""
    return given(
        num_inference_steps=steps,
        guidance_scale=guidance,
        shift=shift,
        noise_level=noise_level,
        decode_slices=decode_slices,
        **size_changes(size),
    )


def size_changes(size: str | None) -> dict[str, int]:
    """Height and width, where a size was given."""
    return {} if size is None else dict(zip(("height", "width"), height_width(size), strict=True))


def height_width(size: str) -> tuple[int, int]:
    """HEIGHTxWIDTH as numbers."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)
    if match is None:
        raise InputError(f"size {size!r} is not understood; write HEIGHTxWIDTH, such as 256x480")
    return int(match[1]), int(match[2])


def lora_scales(arguments: list[str] | None) -> dict[Path, float]:
    """The scale of each LoRA file, given as FILE or FILE:SCALE."""
    scales: dict[Path, float] = {}
    for argument in arguments or []:
        match = re.fullmatch(r"(.+):([-+0-9.eE]+)", argument)
        file = Path(match[1] if match else argument)
        if file in scales:
            raise InputError(f"LoRA {file} is given twice; give each file once, with one scale")
        scales[file] = _number(match[2], argument) if match else 1.0
    return scales


def _number(text: str, argument: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"the scale {text!r} of LoRA {argument} is no number; write FILE:0.5") from None


def clip_size(num_frames: int | None, size: str | None, refine_size: str | None) -> ClipSize | None:
    """A checkpoint's default sizes, where they were given."""
    if num_frames is None and size is None and refine_size is None:
        return None
    if num_frames is None or size is None or refine_size is None:
        raise InputError("of --num-frames, --size and --refine-size only some are given; give all three or none")
    from fv_ray.presets import ClipSize

    return ClipSize(num_frames, *height_width(size), *height_width(refine_size))


def placement(device: str | None, dtype: str | None) -> dict[str, Any]:
    """Where and in which precision to load: a GPU in bfloat16 where there is one, else the CPU in float32."""
    import torch

    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=where).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device!r} cannot be used ({reason}); give cpu, or a GPU that is there") from error
    return {"device": where, "dtype": getattr(torch, dtype or ("float32" if where.type == "cpu" else "bfloat16"))}
