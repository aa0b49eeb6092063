"""A real PostgreSQL server of one's own on the loopback, that can be stopped and started."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import sqlalchemy as sa

START_S = 60


def find_programs() -> Path | None:
    """The folder of the newest server's programs, where there is one."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    folders = [*packaged, *([Path(on_path).parent] if on_path else [])]
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


class PostgresServer:
    """Runs as long as the `with` block, but while it is stopped."""

    def __init__(self, programs: Path) -> None:
        self._programs, self._user = programs, _server_user()
        self._port = free_port()
        self.url = sa.URL.create("postgresql+psycopg", "tester", host="127.0.0.1", port=self._port, database="postgres")
        """Of its `postgres` database."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="fv-ray-postgres-"))
        try:
            if self._user is not None:
                shutil.chown(self._folder, self._user)
                self._folder.parent.chmod(self._folder.parent.stat().st_mode | 0o011)  # it passes through there
            self._run("initdb", "-D", "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server.poll() is None:
            self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Give back when it answers."""
        settings = {"port": self._port, "unix_socket_directories": self._folder, "fsync": "off"}
        settings["listen_addresses"] = "127.0.0.1"
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", "data", *options]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, user=self._user, cwd=self._folder, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._server.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """At once, as a crash does."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(START_S)

    def _answers(self) -> bool:
        command = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, *arguments]
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, capture_output=True)


def _server_user() -> str | None:
    """PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    return next(user.pw_name for name in ("postgres", "nobody") for user in pwd.getpwall() if user.pw_name == name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def create_database(server: sa.URL, name: str) -> sa.URL:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return server.set(database=name)
