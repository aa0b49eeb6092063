"""Alembic's door: runs the steps on the connection, and in the transaction, of `upgrade`."""

from alembic import context

from deployments.database.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
