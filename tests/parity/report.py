"""Writes the table of docs/parity.md: `python -m tests.parity.report`."""

import platform
import tempfile
from pathlib import Path

import diffusers
import torch

from tests.parity.measure import CASES, LAST_BIT_ROWS, load_models, measure

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
START, END = "<!-- table: make parity -->", "<!-- end of table -->"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = load_models(Path(folder) / "checkpoint")
        rows = [row for name in CASES for row in measure(name, models)]
    within = [row for row in rows if row.difference <= row.tolerance]
    num_loose = sum((row.case, row.tensor) in LAST_BIT_ROWS for row in within)
    num_strict = len(within) - num_loose
    lines = [
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, {platform.machine()}, float32, one thread. "
        f"Of {len(rows)} rows {num_strict} are within the strict tolerance, {num_loose} within the loose one, "
        f"{len(rows) - num_strict - num_loose} outside.",
        "",
        "| case | tensor | max abs difference | tolerance | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        mark = "yes" if row.difference <= row.tolerance else "**no**"
        note = " (loose)" if (row.case, row.tensor) in LAST_BIT_ROWS else ""
        lines.append(f"| {row.case} | {row.tensor} | {row.difference:.1e} | {row.tolerance:.0e}{note} | {mark} |")
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{chr(10).join(lines)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
