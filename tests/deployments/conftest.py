"""A real PostgreSQL server for the tests of this room, databases of both kinds, and the service on Ray Serve."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from deployments.config import StageConfig
from deployments.database.engine import open_engine
from deployments.database.tables import METADATA, clocks, probes
from deployments.database.upgrade import upgrade
from tests.deployments.service import App, running_app
from tests.deployments.videos import Database
from tests.postgres import PostgresServer, create_database, find_programs, free_port

REQUIRE = "FV_RAY_REQUIRE_POSTGRES"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """A server that lives as long as the tests; its `postgres` database."""
    programs = find_programs()
    if programs is None and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"there are no PostgreSQL server programs, and {REQUIRE}=1 demands them; install postgresql")
    if programs is None:
        pytest.skip("there are no PostgreSQL server programs; install postgresql")
    with PostgresServer(programs) as server:
        yield server.url


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


@pytest.fixture(scope="package")
def serve_local(ray_local: None) -> Iterator[str]:  # noqa: ARG001
    """Ray Serve on the tests' Ray; the URL of its HTTP."""
    from ray import serve

    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="package")
def app(serve_local: str, small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder, stage = tmp_path_factory.mktemp("service"), StageConfig(num_cpus=0, max_request_s=1)
    with running_app(folder, small_checkpoint, stage, name="fv", serve_url=serve_local) as app:
        yield app
