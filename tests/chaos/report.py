"""Writes the table of docs/reliability.md: `python -m tests.chaos.report`. Rows of faults that were not run stay.

Ends with 1 where something was lost, duplicated or corrupted, and says what.
"""

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import ray

from fv_ray.temporary_folder import own_temporary_folder
from tests.chaos.experiment import Result, run
from tests.chaos.faults import FAULTS, Stage
from tests.chaos.service import Service
from tests.object_store import object_store
from tests.postgres import PostgresServer, find_programs
from tests.tiny import make_checkpoint, make_small_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
START, END = "<!-- table: make chaos -->\n", "<!-- end of table -->"
COLUMNS = (
    "fault",
    "database",
    "jobs",
    "videos",
    "times",
    "lost",
    "duplicated",
    "corrupted",
    "two at once",
    "failed",
    "re-runs",
    "recovery (s)",
    "seed",
    "date",
)


def main() -> None:
    args = _arguments()
    faults = [FAULTS[name] for name in args.fault or FAULTS]
    is_well = True
    # One service for all that it can be hurt by.
    for needs in ({"any", args.database}, {"s3"}, {"two orchestrators"}):
        chosen = [fault for fault in faults if fault.needs in needs]
        if not chosen:
            continue
        with own_temporary_folder() as folder, _stage(folder / "service", args.database, needs) as stage:
            for fault in chosen:
                result = run(stage, fault, num_jobs=args.jobs, num_injections=args.injections, seed=args.seed)
                is_well &= _tell(result)
                _write(args.output, _row(result, args))
    sys.exit(not is_well)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hurt a running service, and see whether anything is lost.")
    parser.add_argument("--jobs", type=int, default=100, help="videos, or previews with a commit, per fault")
    parser.add_argument(
        "--injections", type=int, default=10, help="times that a fault is injected, where it is no client's"
    )
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--fault", nargs="+", choices=FAULTS, help="default: all that the database allows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PAGE)
    return parser.parse_args()


@contextmanager
def _stage(folder: Path, database: str, needs: Set[str]) -> Iterator[Stage]:
    make_checkpoint(folder / "tiny")
    make_small_checkpoint(folder / "tiny", folder / "checkpoint")
    with ExitStack() as stack:
        postgres = None
        if database == "postgres":
            programs = find_programs()
            assert programs is not None, "there are no PostgreSQL server programs; install postgresql"
            postgres = stack.enter_context(PostgresServer(programs))
        objects = stack.enter_context(object_store()) if "s3" in needs else None
        url = "s3://bucket/chaos" if objects else None
        num_orchestrators = 2 if "two orchestrators" in needs else 1
        service = Service(
            folder / "checkpoint", folder, storage_url=url, postgres=postgres, num_orchestrators=num_orchestrators
        )
        yield Stage(stack.enter_context(service), objects)


def _tell(result: Result) -> bool:
    for wrong in result.wrong:
        print(f"{result.fault.name}: {wrong}", flush=True)
    return not result.wrong


def _row(result: Result, args: argparse.Namespace) -> str:
    found = result.findings
    recovery = "-"
    if found.recovery_s and result.fault.inject is not None:
        recovery = f"{statistics.median(found.recovery_s):.0f}, at most {max(found.recovery_s):.0f}"
    allowed = f" of {result.num_allowed}" if result.num_allowed else ""
    numbers: Sequence[object] = (
        f"`{result.fault.name}`: {result.fault.what}",
        args.database,
        args.jobs,
        found.num_videos,
        result.num_injected,
        len(found.lost),
        len(found.duplicated),
        len(found.corrupted),
        len(found.overlapping),
        found.num_failed,
        f"{found.num_reruns}{allowed}",
        recovery,
        args.seed,
        datetime.now(UTC).date(),
    )
    return f"| {' | '.join(map(str, numbers))} |"


def _write(page: Path, row: str) -> None:
    """Put a row in place of the one of the same fault and database, in the order of the faults."""
    before, _, rest = page.read_text("utf-8").partition(START)
    table, _, after = rest.partition(END)
    rows = {_place(line): line for line in [*table.splitlines(), row] if line.startswith("| `")}
    machine = f"{os.cpu_count()} cores ({platform.machine()}, shared with other work), Ray {ray.__version__}"
    lines = [
        f"On {machine}, Python {platform.python_version()}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(rows[place] for place in sorted(rows)),
    ]
    page.write_text(f"{before}{START}{chr(10).join(lines)}\n{END}{after}", "utf-8")


def _place(row: str) -> tuple[int, str]:
    fault, database = row.split("|")[1:3]
    return list(FAULTS).index(fault.split("`")[1]), database.strip()


if __name__ == "__main__":
    main()
