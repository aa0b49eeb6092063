"""Measurements as Markdown, with what is needed to make them again."""

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

import diffusers
import torch


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    rule = [":--"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def header(title: str, module: str, arguments: Sequence[str], device: torch.device, dtype: torch.dtype) -> str:
    """Date, device, versions and the command."""
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} thread(s)"
    return "\n".join(
        (
            f"# {title}",
            "",
            f"- date: {datetime.now(UTC):%Y-%m-%d}",
            f"- device: {device_name(device)}{threads}, {str(dtype).removeprefix('torch.')}",
            f"- versions: Python {platform.python_version()}, torch {torch.__version__}, "
            f"diffusers {diffusers.__version__}",
            f"- command: `{shlex.join(['python', '-m', module, *arguments])}`",
        )
    )


def device_name(device: torch.device) -> str:
    """As a reader knows it, without the name of the machine."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{os.cpu_count()}-core {platform.machine().replace('_', '-')} CPU"
