"""A temporary folder for one program and every process that it starts; it is removed at the end.

    python -m fv_ray.temporary_folder COMMAND [ARGUMENT ...]

runs another program in such a folder. A process that is killed leaves its temporary files, and a Ray leaves its session
and its address, where it was told to keep them: in this folder they are removed with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "fvr."
"""Short: the path of a Ray's socket is 81 bytes longer than the system's temporary folder, and 107 are allowed."""
VARIABLES = ("TMPDIR", "RAY_TMPDIR")
"""Python reads the first, Ray the second."""
REMOVE_S = 10.0
"""How long processes that are ending may still write into the folder."""


@contextmanager
def own_temporary_folder() -> Iterator[Path]:
    """Keep the temporary files of this process, and of those it starts, in a new folder until the block ends.

    Nothing else of this user's is read or written: a Ray that is started inside has its session and its address there.
    If RAY_TMPDIR is set, somebody has chosen a place, and files are left there.
    """
    if "RAY_TMPDIR" in os.environ:
        yield Path(tempfile.gettempdir())
        return
    before = {name: os.environ.get(name) for name in VARIABLES}
    usual = tempfile.tempdir
    # On macOS a socket's path has at most 103 bytes, of which the usual TMPDIR alone takes about 50.
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp" if sys.platform == "darwin" else None))
    (folder / "ray").mkdir()  # Ray writes an address without making the folder for it
    os.environ |= dict.fromkeys(VARIABLES, str(folder))
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = usual
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _remove(folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + REMOVE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


def main(command: list[str]) -> int:
    """Run `command` until it ends; its exit status, as a shell gives it.

    Ctrl-C reaches the command by itself, since it is in the terminal's foreground too; SIGTERM is passed on.
    """
    with own_temporary_folder():
        signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the command would inherit
        process = subprocess.Popen(command)
        signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
        status = process.wait()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
