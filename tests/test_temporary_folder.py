"""A program's temporary files, a Ray's among them, are in one folder, and nothing is left at the default places."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fv_ray.temporary_folder import VARIABLES, own_temporary_folder

PATIENCE_S = 240
RAYS_KEY = {".ray", ".ray/auth_token"}
"""By which a Ray knows this user; one for all of the user's Rays, so that commands such as `serve status` find it."""
SHOW = "import os, tempfile; print(os.environ['RAY_TMPDIR'], tempfile.mkdtemp())"
WAIT = "import os, pathlib, time; pathlib.Path(os.environ['TMPDIR'], 'begun').touch(); time.sleep(600)"
WRAPPED = [sys.executable, "-m", "fv_ray.temporary_folder", sys.executable, "-c"]


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, as this process and those that it starts see it."""
    for name in VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_it_holds_what_this_process_and_its_children_make_and_is_removed(usual: Path) -> None:
    with own_temporary_folder() as folder:
        assert folder.parent == usual
        assert Path(tempfile.mkdtemp()).parent == folder
        told = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True).stdout.split()
        assert (told[0], Path(told[1]).parent) == (str(folder), folder)
    assert "RAY_TMPDIR" not in os.environ
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(usual)
    assert list(usual.iterdir()) == []


def test_an_error_inside_removes_it_too(usual: Path) -> None:
    with pytest.raises(KeyError), own_temporary_folder() as folder:
        raise KeyError(folder)
    assert list(usual.iterdir()) == []


def test_a_place_that_was_chosen_for_ray_is_used_and_kept(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(usual / "chosen"))
    with own_temporary_folder() as folder:
        assert folder == usual
        assert os.environ["RAY_TMPDIR"] == str(usual / "chosen")


def test_a_command_runs_in_one_and_gives_its_status(usual: Path) -> None:
    done = subprocess.run([*WRAPPED, f"{SHOW}; raise SystemExit(7)"], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert all(Path(each).is_relative_to(usual) for each in done.stdout.split())
    assert list(usual.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing(usual: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([*WRAPPED, WAIT], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not list(usual.glob("*/begun")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert process.wait(PATIENCE_S) in (128 + number, 1)  # Python's own end by Ctrl-C, and by a signal
    assert list(usual.iterdir()) == []


@contextmanager
def untouched(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose HOME and temporary folder are new; nothing is in them at the end, and no process is left."""
    shortest = os.environ["PYTEST_DEBUG_TEMPROOT"]  # the path of a Ray's socket has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="f", dir=shortest) as place:
        home, usual = tmp_path / "home", Path(place)
        home.mkdir()
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST"))}
        yield ours | {"HOME": str(home), "TMPDIR": place, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        assert list(usual.iterdir()) == []
        assert {str(path.relative_to(home)) for path in home.rglob("*")} <= RAYS_KEY
        deadline = time.monotonic() + PATIENCE_S
        while left := [each for each in psutil.process_iter() if place in environment(each).get("TMPDIR", "")]:
            assert time.monotonic() < deadline, left  # what was told to end may take a moment
            time.sleep(0.1)


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.ray
def test_the_tests_leave_nothing(tmp_path: Path) -> None:
    test = "tests/jobs/test_connect_ray.py"
    with untouched(tmp_path) as ours:
        command = [sys.executable, "-m", "pytest", "-m", "ray", "-p", "no:cacheprovider", test]
        done = subprocess.run(command, env=ours, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.ray
def test_a_job_leaves_nothing(small_checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("prompt\na red fox\n")
    with untouched(tmp_path) as ours:
        options = [f"--input={table}", f"--output={tmp_path}/out", f"--checkpoint={small_checkpoint}", "--preview-only"]
        command = [sys.executable, "-m", "jobs.generate", *options]
        done = subprocess.run(command, env=ours, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
