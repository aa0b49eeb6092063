import os
import shutil
from pathlib import Path

import pytest
from dbos import DBOSClient
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from deployments.database.engine import open_engine
from tests.deployments.conftest import emptied
from tests.deployments.database.life_cycle import LifeCycle
from tests.deployments.videos import Database

# A night can run thousands: FV_RAY_LIFE_CYCLES=5000.
NUM_EXAMPLES = int(os.environ.get("FV_RAY_LIFE_CYCLES", "10"))


def connected(url: str) -> Database:
    engine = open_engine(url)
    return Database(url, engine, DBOSClient(system_database_engine=engine))


def close(database: Database) -> None:
    database.client.destroy()
    database.engine.dispose()


def run(machine: type[LifeCycle], num_examples: int) -> None:
    limits = settings(
        max_examples=num_examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(machine, settings=limits)


@pytest.mark.timeout(0)
def test_life_cycles_on_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    class OnSqlite(LifeCycle):
        @staticmethod
        def make_database() -> Database:
            path = tmp_path / f"{os.urandom(8).hex()}.sqlite"
            shutil.copy(sqlite_template, path)
            return connected(f"sqlite:///{path}")

        close_database = staticmethod(close)

    run(OnSqlite, NUM_EXAMPLES)


@pytest.mark.timeout(0)
def test_life_cycles_on_postgresql(postgres_tables: str) -> None:
    class OnPostgresql(LifeCycle):
        @staticmethod
        def make_database() -> Database:
            return connected(emptied(postgres_tables))

        close_database = staticmethod(close)

    run(OnPostgresql, max(NUM_EXAMPLES // 5, 1))
