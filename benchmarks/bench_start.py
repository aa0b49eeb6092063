"""Times how long the command and the values take to start, and against another revision of this repository.

    python -m benchmarks.bench_start --against HEAD~20

Each is a process of its own; the revisions take turns, so that what else the machine does hurts both alike.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

from benchmarks import report

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "python -c pass": "pass",
    "import fv_ray.types": "import fv_ray.types",
    "fv-ray --help": "import sys; sys.argv = ['fv-ray', '--help']; from fv_ray.cli import main; main()",
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
HEAD = ("", "wall ms", "CPU ms")
HEAD_AGAINST = (*HEAD, "then: wall ms", "then: CPU ms", "wall", "CPU")


class Cost(NamedTuple):
    """Of one process, in milliseconds."""

    wall: float
    cpu: float
    """User and system."""


def start(program: str, tree: Path) -> Cost:
    """Run a program on the `fv_ray` of a tree."""
    begin = perf_counter()
    # `python -c` looks for modules in its working directory first.
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tree, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{program!r} ended with {process.returncode} in {tree}")
    return Cost(wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


def median_costs(program: str, trees: Sequence[Path], runs: int) -> list[Cost]:
    """Of each tree, in turn; the first run of each writes bytecode and does not count."""
    rounds = [[start(program, tree) for tree in trees] for _ in range(1 + runs)][1:]
    by_tree = zip(*rounds, strict=True)
    return [Cost(*(statistics.median(values) for values in zip(*costs, strict=True))) for costs in by_tree]


@contextmanager
def tree_of(revision: str) -> Iterator[Path]:
    """The `fv_ray` of a revision, without the embedded model, in a folder for as long as it is needed."""
    archive = ["git", "-C", str(ROOT), "archive", revision, "fv_ray", ":(exclude)fv_ray/default_model"]
    written = subprocess.run(archive, check=True, capture_output=True).stdout
    with TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(written)) as files:
        files.extractall(folder, filter="data")
        yield Path(folder)


def row(name: str, costs: Sequence[Cost]) -> list[str]:
    cells = [name, *(f"{value:.0f}" for cost in costs for value in cost)]
    if len(costs) == 1:
        return cells
    now, then = costs
    return [*cells, f"{now.wall / then.wall:.2f}x", f"{now.cpu / then.cpu:.2f}x"]


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    if options.against is None:
        head, rows = HEAD, [row(name, median_costs(code, [ROOT], options.runs)) for name, code in PROGRAMS.items()]
    else:
        with tree_of(options.against) as then:
            head = HEAD_AGAINST
            rows = [row(name, median_costs(code, [ROOT, then], options.runs)) for name, code in PROGRAMS.items()]
    lines = [report.table(head, rows), "", f"- medians of {options.runs} processes each"]
    if options.against is not None:
        lines.append(f"- then: revision {options.against}, in turn with this one; wall and CPU: now as a part of then")
    report.publish("\n".join(lines), options.output, "Start times", "benchmarks.bench_start", arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_start", description="Start times.")
    parser.add_argument("--against", metavar="REVISION", help="measure this revision too, in turn")
    parser.add_argument("--runs", type=int, default=20, help="processes of each kind that count")
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
