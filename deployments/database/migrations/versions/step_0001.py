"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.Float(53)


def upgrade() -> None:
    """Make them."""
    _make_videos()
    _make_what_belongs_to_videos()
    op.create_table(
        "removals",
        sa.Column("work_key", sa.String(64), primary_key=True),
        sa.Column("marked_at", TIME, nullable=False),
        sa.Column("removed_at", TIME),
    )
    clocks = op.create_table(
        "clocks", sa.Column("stage", sa.String(16), primary_key=True), sa.Column("tag", sa.Integer, nullable=False)
    )
    op.bulk_insert(clocks, [{"stage": "stage_one", "tag": 0}, {"stage": "stage_two", "tag": 0}])
    probes = op.create_table(
        "probes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.bulk_insert(probes, [{"id": 1, "at": 0.0}])


def _make_videos() -> None:
    videos = op.create_table(
        "videos",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(320)),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("parent_id", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("is_waiting", sa.Boolean, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("progress", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("checkpoint_digest", sa.String(80), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("queued_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("completed_at", TIME),
        sa.Column("expires_at", TIME),
        sa.Column("deleted_at", TIME),
        sa.UniqueConstraint("tenant", "idempotency_key", name="videos_idempotency"),
    )
    is_waiting, is_running = videos.c.is_waiting == sa.true(), videos.c.state == "in_progress"
    op.create_index("videos_listed", "videos", ["tenant", "created_at", "id"])
    op.create_index("videos_ended", "videos", ["completed_at"])
    _partial("videos_waiting", ["stage", "priority", "queued_at", "tenant"], is_waiting)
    _partial("videos_waiting_of_tenant", ["tenant", "stage", "priority"], is_waiting)
    _partial("videos_running", ["stage"], is_running)


def _partial(name: str, columns: list[str], where: sa.ColumnElement[bool]) -> None:
    op.create_index(name, "videos", columns, sqlite_where=where, postgresql_where=where)


def _make_what_belongs_to_videos() -> None:
    op.create_table(
        "results",
        sa.Column("video_id", sa.String(64), sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("stage", sa.String(16), primary_key=True),
        sa.Column("work_key", sa.String(64), nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
    )
    op.create_index("results_of_work", "results", ["work_key"])
    op.create_index("results_expiring", "results", ["expires_at"])
    op.create_table(
        "attempts",
        sa.Column("video_id", sa.String(64), primary_key=True),
        sa.Column("stage", sa.String(16), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("device_seconds", TIME),
        sa.Column("device", sa.String(64)),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
    )
    op.create_index("attempts_recent", "attempts", ["stage", "outcome", "ended_at"])
    op.create_index("attempts_ended", "attempts", ["ended_at"])
    op.create_table(
        "events",
        sa.Column("video_id", sa.String(64), sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
