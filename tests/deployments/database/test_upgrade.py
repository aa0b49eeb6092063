from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.schema import SchemaItem

from deployments.database.engine import open_engine
from deployments.database.tables import METADATA
from deployments.database.upgrade import upgrade


def is_ours(item: SchemaItem, name: str | None, kind: str, reflected: bool, other: SchemaItem | None) -> bool:
    del item, reflected, other
    return kind != "table" or name in METADATA.tables


def test_the_steps_lead_to_the_tables_of_the_code(empty_url: str) -> None:
    engine = open_engine(empty_url)
    upgrade(engine)
    with engine.connect() as conn:
        options = {"include_object": is_ours, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(conn, opts=options), METADATA) == []
    engine.dispose()


def test_many_processes_may_upgrade_at_once_and_again(empty_url: str) -> None:
    engines = [open_engine(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, engines))
    upgrade(engines[0])
    with engines[0].connect() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(METADATA.tables["clocks"])).scalar_one() == 4
    for engine in engines:
        engine.dispose()
