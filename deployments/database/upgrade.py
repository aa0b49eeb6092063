"""Brings a database to this release's tables, ours and DBOS', from nothing or from an earlier release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from dbos import DBOS

from deployments.database.transactions import unavailable, writing

LOCK = 7_218_340_115
"""Of PostgreSQL's advisory locks: one process upgrades, others wait."""


def upgrade(engine: sa.Engine) -> None:
    """Run all steps that have not been run; any number of processes may call it at once."""
    config = Config()
    config.set_main_option("script_location", "deployments.database:migrations")
    with writing(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
    with unavailable():
        DBOS.migrate(engine.url.render_as_string(hide_password=False))
