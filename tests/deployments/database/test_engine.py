from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos._sys_db_sqlite import SQLiteSystemDatabase

from deployments.database.engine import network_file_system, open_engine
from fv_ray.errors import InputError

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / /data rw,relatime shared:1 - nfs4 server:/data rw,vers=4.2
24 23 254:1 / /data/local\\040disk rw - xfs /dev/vdb rw
25 22 0:41 / /bucket rw - fuse.s3fs s3fs rw
26 22 0:42 / /over rw - cifs //server/over rw
27 26 254:2 / /over rw - ext4 /dev/vdc rw
28 22 0:43 / /box rw - fuse.fuse-overlayfs overlay rw
"""


def test_sqlite_commits_survive_a_loss_of_power_and_writers_wait(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new/folder/videos.sqlite")
    with engine.connect() as conn:
        asked = {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
        assert asked == {"journal_mode": "wal", "synchronous": 2}
    engine.dispose()


def test_a_connection_is_as_dbos_makes_its_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/videos.sqlite"
    ours = open_engine(url)
    theirs = SQLiteSystemDatabase._create_engine(None, url, {})  # type: ignore[arg-type]
    settings = []
    for engine in (ours, theirs):
        with engine.connect() as conn:
            pragmas = [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("busy_timeout", "foreign_keys")]
            settings.append([conn.connection.dbapi_connection.isolation_level, *pragmas])
        engine.dispose()
    assert settings[0] == settings[1]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://fox:hunter2@host/db",
        "postgresql+asyncpg://fox:hunter2@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///x.sqlite?timeout=0",
        "postgresql://fox:hunter2@host:port/db",
        "hunter2",
        "",
    ],
)
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(InputError, match=r"give sqlite:///FILE") as caught:
        open_engine(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_postgresql_is_reached_by_psycopg_with_what_the_url_says() -> None:
    engine = open_engine("postgresql://fox:hunter2@host/db?connect_timeout=3")
    assert engine.url.drivername == "postgresql+psycopg"
    _, arguments = engine.dialect.create_connect_args(engine.url)
    assert arguments["connect_timeout"] == "3"
    assert "hunter2" not in repr(engine)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/videos.sqlite", None),
        ("/data/videos.sqlite", "nfs4"),
        ("/data/local disk/videos.sqlite", None),
        ("/database/videos.sqlite", None),
        ("/bucket/deep/videos.sqlite", "fuse.s3fs"),
        ("/over/videos.sqlite", None),
        ("/box/videos.sqlite", None),
    ],
)
def test_network_file_systems_are_found(tmp_path: Path, path: str, kind: str | None) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS)
    assert network_file_system(Path(path), mountinfo) == kind


def test_where_nothing_tells_of_mounts_a_disk_is_taken_for_local(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "missing") is None


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a fox " * 1000)
    with pytest.raises(InputError, match="cannot be opened as a SQLite file .*; give another file"):
        open_engine(f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(InputError, match="cannot be opened as a SQLite file .*; give another file"):
        open_engine(f"sqlite:///{tmp_path}/notes.txt/videos.sqlite")


def test_parameters_are_not_told_in_errors(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as conn, pytest.raises(sa.exc.DBAPIError) as caught:
        conn.execute(sa.text("SELECT * FROM missing WHERE prompt = :prompt"), {"prompt": "a red fox"})
    assert "fox" not in str(caught.value)
    engine.dispose()
