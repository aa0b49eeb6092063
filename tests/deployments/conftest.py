"""A real PostgreSQL server for the tests of this room, and databases of both kinds."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database.engine import open_engine
from deployments.database.tables import METADATA, clocks, probes
from deployments.database.upgrade import upgrade
from tests.deployments.videos import Database

REQUIRE = "FV_RAY_REQUIRE_POSTGRES"
START_S = 60


def server_folder() -> Path:
    """Of the newest server's programs."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    for folder in [*packaged, *([Path(on_path).parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"there are no PostgreSQL server programs, and {REQUIRE}=1 demands them; install postgresql")
    pytest.skip("there are no PostgreSQL server programs; install postgresql")


def server_user() -> str | None:
    """PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    return next(user.pw_name for name in ("postgres", "nobody") for user in pwd.getpwall() if user.pw_name == name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """A server that lives as long as the tests; its `postgres` database."""
    programs, user, port = server_folder(), server_user(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="fv-ray-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        initdb = [programs / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale=C"], user=user, cwd=folder, check=True, capture_output=True)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with (folder.parent / f"{folder.name}.log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *options], user=user, cwd=folder, stderr=log
            )
        try:
            url = sa.URL.create("postgresql+psycopg", "tester", host="127.0.0.1", port=port, database="postgres")
            wait = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            for _ in range(START_S * 10):
                if server.poll() is not None or subprocess.run(wait, check=False).returncode == 0:
                    break
                subprocess.run(["sleep", "0.1"], check=True)
            assert server.poll() is None, Path(log.name).read_text()
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait(START_S)
            Path(log.name).unlink()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: sa.URL) -> str:
    """The URL of a database with all tables. Who uses it empties it first: faster than making another."""
    url = create_database(postgres_server, "tables").render_as_string(hide_password=False)
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


def emptied(url: str) -> str:
    engine = open_engine(url)
    with engine.begin() as conn:
        for table in reversed(METADATA.sorted_tables):
            if table not in (clocks, probes):
                conn.execute(sa.delete(table))
        conn.execute(sa.update(clocks).values(tag=0))
        theirs = set(sa.inspect(conn).get_table_names("dbos")) - {"dbos_migrations"}
        conn.exec_driver_sql(f"TRUNCATE {', '.join(f'dbos.{name}' for name in theirs)} CASCADE")
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "videos.sqlite"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


def create_database(server: sa.URL, name: str) -> sa.URL:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return server.set(database=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/videos.sqlite"
    url = create_database(request.getfixturevalue("postgres_server"), f"empty_{os.urandom(8).hex()}")
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database with tables and no rows."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "videos.sqlite")
        return f"sqlite:///{tmp_path}/videos.sqlite"
    return emptied(request.getfixturevalue("postgres_tables"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    engine = open_engine(url)
    client = DBOSClient(system_database_engine=engine)
    yield Database(url, engine, client)
    client.destroy()
    engine.dispose()


@pytest.fixture(scope="session")
def serve_local(ray_local: None) -> Iterator[str]:  # noqa: ARG001
    """Ray Serve on the tests' Ray; the URL of its HTTP."""
    from ray import serve

    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
