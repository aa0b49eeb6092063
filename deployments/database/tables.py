"""The service's own tables. DBOS keeps its own beside them, in the same database. All times are Unix seconds."""

import sqlalchemy as sa

METADATA = sa.MetaData()
TIME = sa.Float(53)

videos = sa.Table(
    "videos",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(320)),
    sa.Column("request_hash", sa.String(64), nullable=False),  # of what the client asked for under that key
    sa.Column("kind", sa.String(16), nullable=False),  # full, preview, commit
    sa.Column("parent_id", sa.String(64)),
    sa.Column("state", sa.String(16), nullable=False),  # queued, in_progress, completed, failed
    sa.Column("stage", sa.String(16), nullable=False),  # the stage that it waits for, is in, or was last in
    sa.Column("is_waiting", sa.Boolean, nullable=False),  # for a place in that stage
    sa.Column("priority", sa.Integer, nullable=False),  # at that stage, as DBOS has it: the smallest goes first
    sa.Column("progress", sa.Integer, nullable=False),  # percent; 100 when completed
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("model", sa.String(128), nullable=False),  # as the client named it
    sa.Column("checkpoint_digest", sa.String(80), nullable=False),
    sa.Column("request", sa.JSON, nullable=False),  # a VideoRequest, complete
    sa.Column("enhancement", sa.JSON(none_as_null=True)),  # an Enhanced: the user's own prompt, and what became of it
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", TIME, nullable=False),
    sa.Column("queued_at", TIME, nullable=False),  # for the stage that it waits for
    sa.Column("started_at", TIME),
    sa.Column("completed_at", TIME),  # when it ended, well or not
    sa.Column("expires_at", TIME),
    sa.Column("deleted_at", TIME),
    sa.UniqueConstraint("tenant", "idempotency_key", name="videos_idempotency"),
    sa.Index("videos_listed", "tenant", "created_at", "id"),
    sa.Index("videos_ended", "completed_at"),
)

# As queries have it: SQLite compares the words.
IS_WAITING = videos.c.is_waiting == sa.true()

sa.Index(
    "videos_waiting",
    videos.c.stage,
    videos.c.priority,
    videos.c.queued_at,
    videos.c.tenant,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)
sa.Index(
    "videos_waiting_of_tenant",
    videos.c.tenant,
    videos.c.stage,
    videos.c.priority,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)
sa.Index(
    "videos_running",
    videos.c.stage,
    sqlite_where=videos.c.state == "in_progress",
    postgresql_where=videos.c.state == "in_progress",
)

results = sa.Table(
    "results",  # what a stage left for a video; a commit has its parent's preview
    METADATA,
    sa.Column("video_id", sa.String(64), sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("stage", sa.String(16), primary_key=True),
    sa.Column("work_key", sa.String(64), nullable=False),  # shared by all videos that asked for the same work
    sa.Column("record", sa.JSON, nullable=False),  # a StageRecord
    sa.Column("expires_at", TIME, nullable=False),  # though never before its video has ended
    sa.Index("results_of_work", "work_key"),
    sa.Index("results_expiring", "expires_at"),
)

removals = sa.Table(
    "removals",  # results that no video has any more: marked first, removed second
    METADATA,
    sa.Column("work_key", sa.String(64), primary_key=True),
    sa.Column("marked_at", TIME, nullable=False),
    sa.Column("removed_at", TIME),
)

attempts = sa.Table(
    "attempts",  # of a stage at a video: retries and usage; they outlive their videos
    METADATA,
    sa.Column("video_id", sa.String(64), primary_key=True),
    sa.Column("stage", sa.String(16), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # from 1
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),  # running, or one of records.Outcome
    sa.Column("device_seconds", TIME),
    sa.Column("device", sa.String(64)),
    sa.Column("started_at", TIME, nullable=False),
    sa.Column("ended_at", TIME),
    sa.Index("attempts_recent", "stage", "outcome", "ended_at"),
    sa.Index("attempts_ended", "ended_at"),
)

events = sa.Table(
    "events",  # what happened to a video, in order: the outbox of server-sent events
    METADATA,
    sa.Column("video_id", sa.String(64), sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # from 1, without gaps
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("at", TIME, nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)

clocks = sa.Table(
    "clocks",  # the largest tag that a stage has started: the virtual time of fair queueing
    METADATA,
    sa.Column("stage", sa.String(16), primary_key=True),  # with _batch behind it: that of batches' rows
    sa.Column("tag", sa.Integer, nullable=False),
)

probes = sa.Table(
    "probes",  # one row, written by readiness checks
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", TIME, nullable=False),
)

files = sa.Table(
    "files",  # that clients uploaded, and what batches wrote; their bytes are in the store
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),  # batch, batch_output
    sa.Column("filename", sa.String(255), nullable=False),  # as the client named it; no path is made of it
    sa.Column("artifact", sa.JSON, nullable=False),  # an Artifact
    sa.Column("path", sa.String(255), nullable=False),  # the artifact's
    sa.Column("created_at", TIME, nullable=False),
    sa.Column("expires_at", TIME, nullable=False),
    sa.Column("deleted_at", TIME),
    sa.Index("files_listed", "tenant", "created_at", "id"),
    sa.Index("files_expiring", "expires_at"),
    sa.Index("files_of_path", "path"),
)

batches = sa.Table(
    "batches",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(320)),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("endpoint", sa.String(64), nullable=False),
    sa.Column("completion_window", sa.String(16), nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),  # the client's own, or null
    sa.Column("output_keep_s", sa.Integer, nullable=False),  # how long its output files are kept
    sa.Column("input_file_id", sa.String(64), nullable=False),
    sa.Column("output_file_id", sa.String(64)),
    sa.Column("error_file_id", sa.String(64)),
    sa.Column("state", sa.String(16), nullable=False),  # as OpenAI has it
    sa.Column("outcome", sa.String(16)),  # completed, expired or cancelled: the state that it will end in
    sa.Column("errors", sa.JSON, nullable=False),  # why it failed: a list
    sa.Column("num_total", sa.Integer, nullable=False),
    sa.Column("num_completed", sa.Integer, nullable=False),
    sa.Column("num_failed", sa.Integer, nullable=False),
    sa.Column("submitted_to", sa.Integer, nullable=False),  # the last line that was made a video or refused
    sa.Column("created_at", TIME, nullable=False),
    sa.Column("expires_at", TIME, nullable=False),
    sa.Column("in_progress_at", TIME),
    sa.Column("finalizing_at", TIME),
    sa.Column("cancelling_at", TIME),
    sa.Column("ended_at", TIME),
    sa.UniqueConstraint("tenant", "idempotency_key", name="batches_idempotency"),
    sa.Index("batches_listed", "tenant", "created_at", "id"),
    sa.Index("batches_ended", "ended_at"),
    sa.Index("batches_of_file", "input_file_id"),
)

batch_rows = sa.Table(
    "batch_rows",  # the requests of a batch that may be made: their text stays in the input file
    METADATA,
    sa.Column("batch_id", sa.String(64), sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),  # of the input file, from 1
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("custom_id", sa.String(512), nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),  # of its bytes in the file
    sa.Column("num_bytes", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # waiting, open, completed, failed, withdrawn
    sa.Column("video_id", sa.String(64)),  # though its row may go first
    sa.Column("refusal", sa.JSON, nullable=False),  # a RowRefusal where there is no video, or null
)

sa.Index(
    "batch_rows_open",
    batch_rows.c.batch_id,
    sqlite_where=batch_rows.c.state == "open",
    postgresql_where=batch_rows.c.state == "open",
)
