"""A seed to a checkpoint folder of random weights, from which the training jobs start."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from fv_ray.errors import FvRayError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def new_checkpoint(
    output: Annotated[Path, typer.Option(help="A new folder.")],
    size: Annotated[
        Literal["small", "tiny"], typer.Option(help="small is the default model, tiny is for tests.")
    ] = "small",
    seed: Annotated[int, typer.Option(help="Of the weights.")] = 0,
) -> None:
    """Write a checkpoint of random weights and tell what it holds."""
    from fv_ray.description import describe
    from fv_ray.training import new_checkpoint as module

    module.new_checkpoint(output, size, seed)
    typer.echo(describe(output))


def main() -> None:
    """Run the job; what cannot be done is one line and exit status 1, not a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except (FvRayError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
