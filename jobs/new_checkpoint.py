"""A seed to a checkpoint folder of random weights, from which the training jobs start."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.run_command import run_command

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
    """Run the job."""
    run_command(app)


if __name__ == "__main__":
    main()
