"""A checkpoint folder and newly trained parts to the checkpoint folder that has them."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from fv_ray.checkpoint import CheckpointInfo, Preset, explain
from fv_ray.errors import InputError
from jobs.read_pairs import read_pairs
from jobs.run_command import run_command

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def assemble_checkpoint(
    base: Annotated[Path, typer.Option(help="The checkpoint folder that the other parts are taken from.")],
    output: Annotated[Path, typer.Option(help="A new folder.")],
    part: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: vae, stage_one_transformer, ...; repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the checkpoint calls itself. Default: as the base.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="STAGE.FIELD=VALUE of the default preset; repeatable.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="Of all weights. Default: each as it is.")
    ] = None,
) -> None:
    """Write a checkpoint that is another one but for some parts."""
    import torch

    from fv_ray.checkpoint_folder import replace_parts
    from fv_ray.description import describe

    replace_parts(
        base,
        output,
        {name: Path(folder) for name, folder in read_pairs("--part", part or ()).items()},
        name=name,
        presets=_presets(CheckpointInfo.read(base), change or []),
        dtype=getattr(torch, dtype) if dtype else None,
    )
    typer.echo(describe(output))


def _presets(info: CheckpointInfo, options: list[str]) -> dict[str, Preset] | None:
    """The checkpoint's presets with changes in the default one; None without changes."""
    if not options:
        return None
    preset = info.presets[info.default_preset].model_dump()
    for field, value in read_pairs("--set", options).items():
        stage, _, name = field.partition(".")
        if name not in preset.get(stage, {}):
            allowed = ", ".join(f"{stage}.{name}" for stage, fields in preset.items() for name in fields)
            raise InputError(f"--set {field!r} is no field of a preset; allowed are {allowed}: give one of these")
        preset[stage][name] = _value(value)
    try:
        return {**info.presets, info.default_preset: Preset.model_validate(preset)}
    except ValidationError as error:
        raise InputError(f"the preset cannot be changed so: {explain(error)}") from error


def _value(text: str) -> object:
    """A number, or the words themselves."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main() -> None:
    """Run the job."""
    run_command(app)


if __name__ == "__main__":
    main()
