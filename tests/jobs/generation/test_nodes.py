"""Nodes come and go while a bulk run is under way; in a process of its own, which has no part in the tests' Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.generation.run_work import MAX_ATTEMPTS
from tests.jobs.generation.nodes import NUM_ROWS


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_stages_scale_apart_and_a_row_outlives_more_nodes_than_it_may_kill_processes(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "tests.jobs.generation.nodes", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["statuses"] == {"made": NUM_ROWS}
    assert seen["grown"] == {"HeldTwo": 3}  # on all GPUs there were: stage one has none left
    assert seen["most"]["HeldOne"] in (1, 2)
    assert seen["num_lost"] >= MAX_ATTEMPTS
    assert seen["num_failed"] == 0
