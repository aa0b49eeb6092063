"""Files, batches, and the clocks of their videos."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIME = sa.Float(53)


def upgrade() -> None:
    """Make them."""
    _make_files()
    _make_batches()
    _make_batch_rows()
    clocks = sa.table("clocks", sa.column("stage", sa.String), sa.column("tag", sa.Integer))
    op.bulk_insert(clocks, [{"stage": "stage_one_batch", "tag": 0}, {"stage": "stage_two_batch", "tag": 0}])


def _make_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("artifact", sa.JSON, nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
    )
    op.create_index("files_listed", "files", ["tenant", "created_at", "id"])
    op.create_index("files_expiring", "files", ["expires_at"])
    op.create_index("files_of_path", "files", ["path"])


def _make_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(320)),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("completion_window", sa.String(16), nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("output_keep_s", sa.Integer, nullable=False),
        sa.Column("input_file_id", sa.String(64), nullable=False),
        sa.Column("output_file_id", sa.String(64)),
        sa.Column("error_file_id", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("errors", sa.JSON, nullable=False),
        sa.Column("num_total", sa.Integer, nullable=False),
        sa.Column("num_completed", sa.Integer, nullable=False),
        sa.Column("num_failed", sa.Integer, nullable=False),
        sa.Column("submitted_to", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("in_progress_at", TIME),
        sa.Column("finalizing_at", TIME),
        sa.Column("cancelling_at", TIME),
        sa.Column("ended_at", TIME),
        sa.UniqueConstraint("tenant", "idempotency_key", name="batches_idempotency"),
    )
    op.create_index("batches_listed", "batches", ["tenant", "created_at", "id"])
    op.create_index("batches_ended", "batches", ["ended_at"])
    op.create_index("batches_of_file", "batches", ["input_file_id"])


def _make_batch_rows() -> None:
    rows = op.create_table(
        "batch_rows",
        sa.Column("batch_id", sa.String(64), sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("custom_id", sa.String(512), nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("num_bytes", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("video_id", sa.String(64)),
        sa.Column("refusal", sa.JSON, nullable=False),
    )
    is_open = rows.c.state == "open"
    op.create_index("batch_rows_open", "batch_rows", ["batch_id"], sqlite_where=is_open, postgresql_where=is_open)
