"""A URL to an engine that loses nothing: a SQLite file on a local disk, or a PostgreSQL server.

The engine is also DBOS' (`system_database_engine`), so that both write in one transaction.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from fv_ray.errors import InputError

ALLOWED = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
POOL_SIZE = 20
POOL_TIMEOUT_S = 10
BUSY_TIMEOUT_MS = 30_000
POSTGRES_DEFAULTS: dict[str, str | int] = {"connect_timeout": 10, "tcp_user_timeout": 30_000}
"""libpq's, in s and ms: a server that is gone is told within them. What the URL says goes first."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
)
LOCAL_FUSE = frozenset({"fuseblk", "fuse.fuse-overlayfs"})


def open_engine(url: str) -> sa.Engine:
    """Open a database; a SQLite file and its folder are made where they are missing.

    Raises:
        InputError: the URL is not allowed, or the file cannot lie there.
    """
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):  # its message and its cause may hold the password
        raise InputError(f"the database URL cannot be parsed; give {ALLOWED}") from None
    if parsed.drivername == "sqlite":
        return _open_sqlite(parsed)
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return _open_postgres(parsed.set(drivername="postgresql+psycopg"))
    raise InputError(f"the database URL begins with {parsed.drivername!r}; give {ALLOWED}")


def _open_postgres(url: sa.URL) -> sa.Engine:
    defaults = {name: value for name, value in POSTGRES_DEFAULTS.items() if name not in url.query}
    return _engine(url, pool_pre_ping=True, connect_args=defaults)


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database.startswith((":memory:", "file:")) or url.query or url.host:
        raise InputError("the SQLite URL names no plain file; jobs must outlive the process: give sqlite:///FILE")
    path = Path(url.database).absolute()
    if kind := network_file_system(path):
        raise InputError(
            f"{path} is on a network file system ({kind}), where SQLite loses data; "
            "give a file on a local disk, or a PostgreSQL server"
        )
    engine = _engine(url.set(database=str(path)))
    sa.event.listen(engine, "connect", _guard)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with engine.connect() as conn:
            mode = conn.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    except (OSError, sa.exc.DatabaseError) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise InputError(f"{path} cannot be opened as a SQLite file ({cause}); give another file") from error
    if mode != "wal":
        raise InputError(f"{path} is on a file system without shared memory for SQLite; give a file on a local disk")
    return engine


def _engine(url: sa.URL, **options: object) -> sa.Engine:
    # Prompts are parameters: they shall not be in messages.
    return sa.create_engine(
        url, hide_parameters=True, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=POOL_TIMEOUT_S, **options
    )


def _guard(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """DBOS' own settings of a connection, and those that make a commit survive a loss of power."""
    connection.isolation_level = "IMMEDIATE"
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def network_file_system(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the network file system that a path is on; None for a local disk, or where nothing tells."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    mounts: list[tuple[Path, str]] = []
    for line in lines:
        place, _, source = line.partition(" - ")
        mounts.append((Path(_unescape(place.split()[4])), source.split()[0]))
    over = [
        (len(point.parts), index, kind) for index, (point, kind) in enumerate(mounts) if resolved.is_relative_to(point)
    ]
    _, _, kind = max(over, default=(0, 0, ""))  # the deepest; of two at one place the later hides the earlier
    is_fuse = kind.startswith("fuse") and kind not in LOCAL_FUSE
    return kind if is_fuse or kind in NETWORK_FILE_SYSTEMS else None


def _unescape(text: str) -> str:
    """The kernel writes a space in a path as its octal code, and so with tabs, line ends and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
