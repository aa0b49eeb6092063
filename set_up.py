"""Makes `.venv` for `make`: a line a step, pip's words in build/setup.log, and one sentence where it cannot be done.

Knows the standard library alone. It is written for older Pythons than fv-ray, so that it can tell them that they are.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

OLDEST, NEWEST = (3, 11), (3, 13)
EXTRAS = {"demo": "", "development": "[dev,jobs,serve,train]"}
MARKERS = {"demo": ".demo", "development": ".ready"}
TELL = "import importlib.util, sys; print('%d.%d' % sys.version_info[:2], importlib.util.find_spec('pip') is None)"
COMPILE = "import compileall, sys; compileall.compile_dir(sys.prefix, quiet=2, workers=0)"
LITTLE_BYTES = 64 * 2**20
UNFINISHED = Path("build/setup.unfinished")
DISK_IS_FULL = "the disk is full; make room, and run the same again"
REASONS = (
    (r"No space left on device|Errno 28", DISK_IS_FULL),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|\(from versions: none\)",
        "the package registry cannot be reached; look at the network and at `pip config list`, and run the same again",
    ),
    (r"No matching distribution|ResolutionImpossible", "a package is not to be had for this Python or this machine"),
)


class CannotSetUp(Exception):
    """One sentence for the person."""


def main(kind: str, root: Path) -> None:
    """Make `.venv` under `root` hold what a demo or development needs."""
    check_python(sys.version_info[:2], sys.executable)
    (root / "build").mkdir(exist_ok=True)
    with alone(root / "build" / "setup.lock"):
        venv, wanted = root / ".venv", digest(root)
        marker = venv / MARKERS[kind]
        if marker.is_file() and marker.read_text("utf-8") == wanted:
            marker.touch()  # another make has just done it
            return
        begin = time.monotonic()
        with (root / "build" / "setup.log").open("w", encoding="utf-8") as log:
            install(kind, root, venv, log)
        marker.write_text(wanted, "utf-8")
        say(f"set up in {time.monotonic() - begin:.0f} s; pip's own words are in build/setup.log\n")


def check_python(version: tuple[int, ...], executable: str) -> None:
    """Refuse a Python that fv-ray or `venv` cannot be had with."""
    found = ".".join(map(str, version))
    if not OLDEST <= version <= NEWEST:
        raise CannotSetUp(
            f"fv-ray needs Python 3.11 to 3.13, and {executable} is {found}; name another: make setup PYTHON=python3.12"
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise CannotSetUp(
            f"{executable} comes without venv; install it (on Debian and Ubuntu: apt install python{found}-venv), "
            "or name another Python: make setup PYTHON=python3.12"
        )


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """Wait until no other process sets up here. The system takes the lock back from one that dies."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make sets up .venv; waiting for it\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(root: Path) -> str:
    """Of all that decides what is installed."""
    told = [sys.version, *((root / name).read_text("utf-8") for name in ("pyproject.toml", "constraints.txt"))]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def install(kind: str, root: Path, venv: Path, log: IO[str]) -> None:
    """Make the environment, where there is none that will do, and put the packages into it."""
    torch = next(line for line in (root / "constraints.txt").read_text("utf-8").split() if line.startswith("torch=="))
    steps: list[tuple[str, Sequence[str]]] = []
    make_venv = making(venv, root / UNFINISHED)
    if make_venv is not None:
        steps.append((f".venv with {sys.executable}", make_venv))
    # A demo compiles what it imports. Development starts many processes; all CPUs compile for it, where pip takes one.
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--no-compile", "--no-input"]
    # torch comes first and alone: the build that suits this machine is the one that the rest is resolved against.
    steps.append((torch, [*pip, torch]))
    rest = [*pip, "-c", "constraints.txt", "-e", f".{EXTRAS[kind]}"]
    steps.append((f"fv-ray and what {'a demo' if kind == 'demo' else kind} needs", rest))
    if kind == "development":
        steps.append(("bytecode", [python, "-c", COMPILE]))
    for name in MARKERS.values():
        with contextlib.suppress(FileNotFoundError):
            (venv / name).unlink()
    for number, (what, command) in enumerate(steps, 1):
        say(f"[{number}/{len(steps)}] {what} ... ")
        begin = time.monotonic()
        try:
            run(command, root, log)
        except CannotSetUp:
            say("failed\n")
            raise
        say(f"{time.monotonic() - begin:.0f} s\n")


def making(venv: Path, unfinished: Path) -> list[str] | None:
    """The command that makes `.venv` or mends it; None where it is whole and of this Python."""
    command = [sys.executable, "-m", "venv", str(venv)]
    if not venv.exists():
        return command
    python, told = venv / "bin" / "python", None
    if python.exists():
        told = subprocess.run([str(python), "-c", TELL], check=False, capture_output=True, text=True)
    if unfinished.exists() or told is None or told.returncode != 0:
        say(".venv is not whole: an earlier set-up was cut off, or its Python is gone; it is made anew\n")
        return [*command, "--clear"]
    version, has_no_pip = told.stdout.split()
    ours = ".".join(map(str, sys.version_info[:2]))
    if version != ours:
        raise CannotSetUp(
            f".venv is of Python {version}, and {sys.executable} is {ours}; "
            f"remove .venv, or give the same: make setup PYTHON=python{version}"
        )
    return command if has_no_pip == "True" else None


def run(command: Sequence[str], root: Path, log: IO[str]) -> None:
    """Run one step; where it may have left half a package, `UNFINISHED` stays, and the next set-up begins anew."""
    begin = Path(log.name).stat().st_size
    unfinished = root / UNFINISHED
    unfinished.touch()
    code = subprocess.run(command, check=False, cwd=root, stdout=log, stderr=subprocess.STDOUT).returncode
    output = Path(log.name).read_bytes()[begin:].decode("utf-8", "replace")
    has_only_looked = "pip" in command and code > 0 and "Installing collected packages" not in output
    if code == 0 or has_only_looked:
        unfinished.unlink()
    if code != 0:
        raise CannotSetUp(reason(code, output, root))


def reason(code: int, output: str, root: Path) -> str:
    """A sentence, and the end of what a step printed."""
    if code < 0:
        return f"it was stopped by signal {-code}; run the same again"
    for place in (root / ".venv", root / "build", Path(os.environ.get("TMPDIR", "/tmp"))):
        if place.is_dir() and shutil.disk_usage(place).free < LITTLE_BYTES:
            return f"there is no space left in {place}; make room, and run the same again"
    end = "\n".join(f"    {line[:160]}" for line in output.splitlines()[-6:])
    why = next((why for pattern, why in REASONS if re.search(pattern, output)), "it failed, as build/setup.log tells")
    return f"{why}\n{end}"


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(__file__).resolve().parent)
    except CannotSetUp as error:
        sys.exit(f"set-up: {error}")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        sys.exit(f"set-up: {DISK_IS_FULL if full else error}")
    except KeyboardInterrupt:
        sys.exit("\nset-up: stopped; run the same again")
