"""The `fv-ray` command: generate, refine, convert, info.

Turns a command line into values, calls the rooms and shows progress; decides nothing about the model.
"""

import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from fv_ray import __version__, cli_options
from fv_ray.cli_options import (
    AttentionBackend,
    Checkpoint,
    Crf,
    DecodeSlices,
    Device,
    Dtype,
    NoiseLevel,
    RefineGuidance,
    RefineSize,
    RefineSteps,
    Shift,
    X264Preset,
)
from fv_ray.errors import FvRayError, PromptNotRead, StorageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Tell the version and exit.")] = False,
) -> None:
    """FlashVideo: a prompt to a preview to a high-resolution video."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the video shows; long and detailed is best.")] = None,
    *,
    checkpoint: Checkpoint,
    output: Annotated[Path, typer.Option(help="A new folder; with --prompt-file it holds a folder for each prompt.")],
    prompt_file: Annotated[Path | None, typer.Option(help="A UTF-8 text file with one prompt a line.")] = None,
    preview_only: Annotated[bool, typer.Option("--preview-only", help="Stop after stage one.")] = False,
    enhance: Annotated[
        bool, typer.Option("--enhance", help="Rewrite short prompts first, by rules: for the embedded model.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="The n-th further prompt gets seed + n. Default: random.")] = None,
    preset: Annotated[str | None, typer.Option(help="One of the checkpoint's. Default: as it says.")] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations of stage one's transformer.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Scale of stage one's dynamic guidance; 0 is none.")] = None,
    num_frames: Annotated[int | None, typer.Option(help="Frames of the clip, 1 + 4k.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the preview, multiples of 16.")] = None,
    refine_steps: RefineSteps = None,
    refine_guidance: RefineGuidance = None,
    refine_size: RefineSize = None,
    shift: Shift = None,
    noise_level: NoiseLevel = None,
    decode_slices: DecodeSlices = None,
    lora: Annotated[list[str] | None, typer.Option(help="FILE or FILE:SCALE over stage one; repeatable.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    attention_backend: AttentionBackend = "native",
    crf: Crf = 18,
    x264_preset: X264Preset = "medium",
) -> None:
    """Make a preview of a prompt, and its video."""
    import secrets

    from fv_ray.checkpoint import CheckpointInfo
    from fv_ray.models.attention import check_attention_backend
    from fv_ray.progress_bars import ProgressBars
    from fv_ray.results import make_preview, make_video
    from fv_ray.stage_one import StageOne
    from fv_ray.storage import require_new
    from fv_ray.text_to_video import TextToVideo
    from fv_ray.video_io import Encoding

    checkpoint_info = CheckpointInfo.read(checkpoint)
    prompts = cli_options.prompts(prompt, prompt_file)
    first_seed = secrets.randbelow(2**32) if seed is None else seed
    stage_one = cli_options.given(
        num_inference_steps=steps, guidance_scale=guidance, num_frames=num_frames, **cli_options.size_changes(size)
    )
    stage_two = cli_options.stage_two_changes(
        refine_steps, refine_guidance, refine_size, shift, noise_level, decode_slices
    )
    if enhance:
        prompts = _enhanced(prompts, first_seed, checkpoint)
    requests = [
        checkpoint_info.request(text, seed=first_seed + n, preset=preset, stage_one=stage_one, stage_two=stage_two)
        for n, text in enumerate(prompts)
    ]
    require_new(output)
    encoding = Encoding(crf, x264_preset)
    folders = [output] if prompt_file is None else [output / f"{n:05d}" for n in range(len(prompts))]

    loras = _readable_loras(lora)
    placement = cli_options.placement(device, dtype)
    check_attention_backend(attention_backend, **placement)

    if preview_only:
        first, second = StageOne.from_pretrained(checkpoint, **placement), None
    else:
        both = TextToVideo.from_pretrained(checkpoint, **placement)
        first, second = both.stage_one, both.stage_two
        second.transformer.set_attention_backend(attention_backend)
    first.transformer.set_attention_backend(attention_backend)
    if loras:
        first.load_loras(loras)

    for request, folder in zip(requests, folders, strict=True):
        with ProgressBars() as bars:
            preview = make_preview(
                first, request, folder, loras=loras, attention_backend=attention_backend, on_progress=bars
            )
        typer.echo(f"{folder / 'preview.mp4'}  (seed {request.seed})")
        if second is not None:
            with ProgressBars() as bars:
                make_video(
                    second, request, preview, folder, encoding, attention_backend=attention_backend, on_progress=bars
                )
            typer.echo(str(folder / "video.mp4"))


@app.command()
def refine(
    preview: Annotated[Path, typer.Argument(help="A folder that `fv-ray generate` wrote.")],
    *,
    checkpoint: Checkpoint,
    output: Annotated[Path | None, typer.Option(help="A new folder. Default: the preview's.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Another prompt for stage two. Default: the preview's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Stage two's own. Default: follows from the preview's.")] = None,
    refine_steps: RefineSteps = None,
    refine_guidance: RefineGuidance = None,
    refine_size: RefineSize = None,
    shift: Shift = None,
    noise_level: NoiseLevel = None,
    decode_slices: DecodeSlices = None,
    device: Device = None,
    dtype: Dtype = None,
    attention_backend: AttentionBackend = "native",
    crf: Crf = 18,
    x264_preset: X264Preset = "medium",
) -> None:
    """Commit a stored preview: run stage two on exactly it."""
    from fv_ray.checkpoint import CheckpointInfo
    from fv_ray.models.attention import check_attention_backend
    from fv_ray.preview_folder import read_preview
    from fv_ray.progress_bars import ProgressBars
    from fv_ray.results import make_video
    from fv_ray.stage_two import StageTwo
    from fv_ray.storage import new_directory, require_new
    from fv_ray.video_io import Encoding

    stored = read_preview(preview)
    made_by = stored.request
    changes = cli_options.stage_two_changes(
        refine_steps, refine_guidance, refine_size, shift, noise_level, decode_slices
    )
    request = CheckpointInfo.read(checkpoint).request(
        made_by.prompt if prompt is None else prompt,
        seed=made_by.seed,
        stage_one=made_by.stage_one.model_dump(),
        stage_two=made_by.stage_two.model_dump() | changes | cli_options.given(seed=seed),
    )
    if output is None and (preview / "video.json").exists():
        raise StorageError(f"{preview} already holds a video; keep it and give another folder with --output")
    if output is not None:
        require_new(output)
    encoding = Encoding(crf, x264_preset)
    placement = cli_options.placement(device, dtype)
    check_attention_backend(attention_backend, **placement)
    stage_two = StageTwo.from_pretrained(checkpoint, **placement)
    stage_two.transformer.set_attention_backend(attention_backend)
    with nullcontext(preview) if output is None else new_directory(output) as folder, ProgressBars() as bars:
        make_video(stage_two, request, stored, folder, encoding, attention_backend=attention_backend, on_progress=bars)
    typer.echo(str((output or preview) / "video.mp4"))


@app.command()
def convert(
    *,
    stage_one: Annotated[Path, typer.Option(help="The released stage1.pt.")],
    stage_two: Annotated[Path, typer.Option(help="The released stage2.pt.")],
    vae: Annotated[Path, typer.Option(help="The released 3d-vae.pt.")],
    output: Annotated[Path, typer.Option(help="A new folder.")],
    text_encoder: Annotated[
        str | None, typer.Option(help="Folder or hub id of the T5 encoder and its tokenizer; prompts need one.")
    ] = None,
    dtype: Annotated[Literal["bfloat16", "float32"], typer.Option(help="Of the written weights.")] = "bfloat16",
    num_frames: Annotated[int | None, typer.Option(help="Default frames of a clip, 1 + 4k.")] = None,
    size: Annotated[str | None, typer.Option(help="Default HEIGHTxWIDTH of a preview.")] = None,
    refine_size: Annotated[str | None, typer.Option(help="Default HEIGHTxWIDTH of a video.")] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(help="The text encoder's window.")] = None,
    name: Annotated[str, typer.Option(help="What the checkpoint calls itself.")] = "FlashVideo",
    ignore: Annotated[
        list[str] | None, typer.Option(help="A tensor of the released files to leave out, by name; repeatable.")
    ] = None,
) -> None:
    """Turn the released weights into a checkpoint folder."""
    import torch

    from fv_ray import conversion

    converted = conversion.convert(
        stage_one=stage_one,
        stage_two=stage_two,
        vae=vae,
        text_encoder=text_encoder,
        output=output,
        dtype=getattr(torch, dtype),
        size=cli_options.clip_size(num_frames, size, refine_size),
        max_prompt_tokens=max_prompt_tokens,
        name=name,
        ignored=ignore or (),
        on_part=lambda part: typer.echo(f"writing {part}", err=True),
    )
    typer.echo(f"{output}: {converted.name} {converted.digest}")


@app.command()
def info(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint folder.",
            default_factory=cli_options.embedded_model,
            show_default="the embedded model",
        ),
    ],
) -> None:
    """Tell what a checkpoint is."""
    from fv_ray.description import describe

    typer.echo(describe(checkpoint))


def main() -> None:
    """Run the command; what cannot be done is one line and exit status 1, not a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # ours are enough
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except (FvRayError, OSError) as error:
        _fail(str(error))
    except RuntimeError as error:
        import torch

        if not isinstance(error, torch.OutOfMemoryError):
            raise
        _fail("the GPU's memory is full; free it, or give a smaller --size and --refine-size")


def _enhanced(prompts: list[str], first_seed: int, checkpoint: Path) -> list[str]:
    """The prompts as the model is to read them, told one by one."""
    from fv_ray.training.procedural import rules

    rules.require_known_words(checkpoint)
    enhanced = [rules.enhance(prompt, first_seed + n) for n, prompt in enumerate(prompts)]
    for each in enhanced:
        typer.echo(f"{each.prompt}\n  enhanced: {each.told_prompt}")
        for note in each.notes:
            typer.echo(f"  {note}")
    return [each.told_prompt for each in enhanced]


def _readable_loras(arguments: list[str] | None) -> dict[Path, float]:
    """The LoRA files with their scales; one that cannot be read is refused before the model is loaded."""
    from fv_ray.models.lora import read_lora

    loras = cli_options.lora_scales(arguments)
    for file in loras:
        read_lora(file)
    return loras


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, PromptNotRead):
        typer.echo(f"warning: {message}", err=True)
