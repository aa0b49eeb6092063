"""What became of a video's prompt."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; videos from before it have none."""
    op.add_column("videos", sa.Column("enhancement", sa.JSON))
