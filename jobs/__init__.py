"""The factory floor: what runs over many files or many machines, on Ray. Each job is `python -m jobs.NAME`."""

import os

# Ray reads it when it is imported: a thread that asks for Ray after its end must not start another one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
