"""What `make` runs to make `.venv`: whom it refuses and why, what it leaves, that two do not meet."""

import errno
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import set_up
from set_up import CannotSetUp

ROOT = Path(__file__).parents[1]
OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 14)])
def test_a_python_of_another_version_is_told(version: tuple[int, int]) -> None:
    with pytest.raises(CannotSetUp, match=rf"needs Python 3.11 to 3.13, and py is 3.{version[1]}; .* PYTHON="):
        set_up.check_python(version, "py")


def test_the_versions_are_those_of_the_package() -> None:
    (oldest, newest), project = (set_up.OLDEST, set_up.NEWEST), (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'requires-python = ">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"' in project


def test_a_python_without_venv_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(CannotSetUp, match=r"py comes without venv; .* apt install python3.12-venv"):
        set_up.check_python((3, 12), "py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "build").mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("torch==1\n")
    return tmp_path


def fake_venv(root: Path, answer: str) -> Path:
    """A `.venv` whose Python says one thing."""
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    return root / ".venv"


def test_a_whole_environment_is_kept(root: Path) -> None:
    assert set_up.making(fake_venv(root, f"echo {OURS} False"), root / set_up.UNFINISHED) is None


def test_an_environment_without_pip_is_mended(root: Path) -> None:
    command = set_up.making(fake_venv(root, f"echo {OURS} True"), root / set_up.UNFINISHED)
    assert command is not None
    assert "--clear" not in command


def test_an_environment_of_another_python_is_left_alone(root: Path) -> None:
    with pytest.raises(CannotSetUp, match=r"\.venv is of Python 3\.7, .* remove \.venv, or .* PYTHON=python3\.7"):
        set_up.making(fake_venv(root, "echo 3.7 False"), root / set_up.UNFINISHED)


def test_what_was_cut_off_is_made_anew(root: Path) -> None:
    venv = fake_venv(root, f"echo {OURS} False")
    (root / set_up.UNFINISHED).touch()
    assert "--clear" in (set_up.making(venv, root / set_up.UNFINISHED) or [])


def test_an_environment_whose_python_is_gone_is_made_anew(root: Path) -> None:
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(root / "gone")
    assert "--clear" in (set_up.making(root / ".venv", root / set_up.UNFINISHED) or [])


def step(root: Path, program: str) -> None:
    """One step, which looks like pip's."""
    with (root / "build" / "setup.log").open("w") as log:
        set_up.run(["sh", "-c", program, "pip"], root, log)


def test_only_a_step_that_wrote_nothing_may_be_gone_on_with(root: Path) -> None:
    step(root, "true")
    assert not (root / set_up.UNFINISHED).exists()
    with pytest.raises(CannotSetUp):
        step(root, "echo Retrying; exit 1")
    assert not (root / set_up.UNFINISHED).exists()
    with pytest.raises(CannotSetUp):
        step(root, "echo Installing collected packages: torch; exit 1")
    assert (root / set_up.UNFINISHED).exists()


def test_a_step_that_is_killed_leaves_its_mark(root: Path) -> None:
    with pytest.raises(CannotSetUp, match=f"stopped by signal {signal.SIGKILL.value}; run the same again"):
        step(root, "kill -9 $$")
    assert (root / set_up.UNFINISHED).exists()


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (f"OSError: [Errno {errno.ENOSPC}] No space left on device", "the disk is full"),
        ("NewConnectionError\nNo matching distribution found", "the package registry cannot be reached"),
        ("ERROR: No matching distribution found for torch==9", "not to be had for this Python"),
        ("no such thing", "build/setup.log tells"),
    ],
)
def test_a_failure_is_told_in_a_sentence_with_its_last_lines(root: Path, output: str, why: str) -> None:
    told = set_up.reason(1, output, root)
    assert why in told.splitlines()[0]
    assert output.splitlines()[-1] in told


def test_a_set_up_of_the_same_is_not_done_again(root: Path) -> None:
    (root / ".venv").mkdir()
    marker = root / ".venv" / ".demo"
    marker.write_text(set_up.digest(root))
    os.utime(marker, (0, 0))
    set_up.main("demo", root)
    assert marker.stat().st_mtime > 0
    assert not (root / "build" / "setup.log").exists()


def test_a_second_one_waits_for_the_first_and_says_so(root: Path) -> None:
    file = root / "build" / "setup.lock"
    program = f"import set_up, pathlib\nwith set_up.alone(pathlib.Path({str(file)!r})): print('in')"
    with set_up.alone(file):
        other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert other.stdout is not None
        assert other.stdout.readline() == "another make sets up .venv; waiting for it\n"
    told, _ = other.communicate(timeout=60)
    assert told == "in\n"
