"""Measurements as Markdown, with what is needed to make them again."""

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import diffusers
import torch

CPU = torch.device("cpu")


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


def publish(
    result: str,
    output: Path | None,
    title: str,
    module: str,
    arguments: Sequence[str],
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Print a result, and write it to `output`, if there is one, below its header."""
    print(result)
    if output is not None:
        output.write_text(f"{header(title, module, arguments, device, dtype)}\n\n{result}\n", "utf-8")


def device_name(device: torch.device) -> str:
    """As a reader knows it, without the name of the machine."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{os.cpu_count()}-core {platform.machine().replace('_', '-')} CPU"
