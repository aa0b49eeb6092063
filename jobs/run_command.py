"""Runs a job's command line: what cannot be done is one line and exit status 1, not a traceback."""

import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from fv_ray.errors import FvRayError


def run_command(app: Callable[[], Any]) -> None:
    """Run a Typer app; quietly, but for what it says itself."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except (FvRayError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
