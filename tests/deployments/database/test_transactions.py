"""Whatever statement of a transaction does not come through: nothing of it is left."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from deployments.database import attempts, batch_steps, retention, videos
from deployments.database.acceptance import accept
from deployments.database.batch_records import CheckedRow, Written
from deployments.database.engine import open_engine
from deployments.database.records import DatabaseUnavailable
from tests.deployments.batches import a_file, a_new_batch, created, now, row_video, started, submitted
from tests.deployments.videos import (
    KEEP_S,
    Database,
    a_result,
    a_video,
    accepted,
    begun,
    crashed,
    everything,
    finished,
    made,
    workflows,
)


class Broken(Exception):
    pass


@contextmanager
def broken_at(engine: sa.Engine, number: int) -> Iterator[list[str]]:
    """The process fails before a statement; the commit is the last one."""
    statements: list[str] = []

    def note(statement: str) -> None:
        if len(statements) == number:
            raise Broken(statement)
        statements.append(statement)

    def before_statement(*arguments: Any) -> None:
        note(arguments[2])

    def before_commit(conn: sa.Connection) -> None:
        del conn
        note("COMMIT")

    sa.event.listen(engine, "before_cursor_execute", before_statement)
    sa.event.listen(engine, "commit", before_commit)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", before_statement)
        sa.event.remove(engine, "commit", before_commit)


def accept_one(database: Database) -> Callable[[], object]:
    return lambda: accepted(database, a_video(idempotency_key="client/1"))


def begin(database: Database) -> Callable[[], object]:
    video = accepted(database)
    return lambda: begun(database, video)


def finish_preview_of_full(database: Database) -> Callable[[], object]:
    attempt = begun(database, accepted(database))
    return lambda: finished(database, attempt)


def finish_last_stage(database: Database) -> Callable[[], object]:
    attempt = begun(database, accepted(database, a_video(kind="preview")))
    return lambda: finished(database, attempt)


def progress(database: Database) -> Callable[[], object]:
    attempt = begun(database, accepted(database))
    return lambda: attempts.record_progress(database.engine, attempt, 10, {})


def fail(database: Database) -> Callable[[], object]:
    attempt = begun(database, accepted(database))
    return lambda: attempts.fail(database.engine, attempt, "failed", "crash_loop", "it crashed")


def close(database: Database) -> Callable[[], object]:
    attempt = begun(database, accepted(database))
    return lambda: crashed(database, attempt)


def remake_preview(database: Database) -> Callable[[], object]:
    video = accepted(database)
    finished(database, begun(database, video))
    attempt = begun(database, video, "stage_two")
    return lambda: attempts.remake_preview(database.engine, database.client, attempt)


def delete(database: Database) -> Callable[[], object]:
    video = accepted(database)
    return lambda: videos.delete(database.engine, "fox", video.id)


def mark_expired(database: Database) -> Callable[[], object]:
    made(database)
    return lambda: retention.mark_expired(database.engine, 1e12)


def create_batch(database: Database) -> Callable[[], object]:
    new = a_new_batch(a_file(database), idempotency_key="client/1")
    return lambda: created(database, new)


def submit_rows(database: Database) -> Callable[[], object]:
    batch = started(database, 3)
    checked = [CheckedRow(line, row_video(batch, line)) for line in (1, 2)]
    return lambda: batch_steps.submit(database.engine, database.client, batch, checked)


def collect_rows(database: Database) -> Callable[[], object]:
    batch = submitted(database, started(database, 2), 2, "preview")
    for video_id in batch_steps.collect(database.engine, batch):
        videos.cancel(database.engine, "fox", video_id)
    return lambda: batch_steps.collect(database.engine, batch)


def end_batch(database: Database) -> Callable[[], object]:
    batch = started(database, 1)
    batch_steps.begin_ending(database.engine, batch, "completed")
    ending, output = now(database, batch), a_file(database).artifact
    return lambda: batch_steps.end(database.engine, ending, Written(output, output, 1, 0))


OF_VIDEOS = [
    accept_one,
    begin,
    finish_preview_of_full,
    finish_last_stage,
    progress,
    fail,
    close,
    remake_preview,
    delete,
    mark_expired,
]
OF_BATCHES = [create_batch, submit_rows, collect_rows, end_batch]


@pytest.mark.parametrize("prepare", OF_VIDEOS + OF_BATCHES)
def test_all_or_nothing(database: Database, prepare: Callable[[Database], Callable[[], object]]) -> None:
    action = prepare(database)
    before = everything(database)
    for number in count():
        with broken_at(database.engine, number) as statements:
            try:
                action()
            except Broken:
                pass
            else:
                break
        assert everything(database) == before
    assert "COMMIT" in statements
    assert len(statements) > 2
    assert everything(database) != before


def test_a_full_disk_accepts_nothing_and_loses_nothing(database: Database) -> None:
    if database.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite can be told of a full disk in a test")
    accepted(database)
    before = everything(database)
    with database.engine.connect() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    database.engine.dispose()

    def fill(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    sa.event.listen(database.engine, "connect", fill)
    num_accepted = 0

    def accept_on() -> None:
        nonlocal num_accepted
        while True:
            accepted(database)
            num_accepted += 1

    with pytest.raises(DatabaseUnavailable, match="full"):
        accept_on()
    sa.event.remove(database.engine, "connect", fill)
    database.engine.dispose()
    assert len(workflows(database)) == len(before["workflows"]) + num_accepted
    assert len(everything(database)["events"]) == len(before["events"]) + num_accepted
    accepted(database)


def test_a_lost_connection_leaves_nothing_half_done_and_the_next_one_works(database: Database) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    attempt = begun(database, accepted(database))
    before = everything(database)
    other = sa.create_engine(database.url, isolation_level="AUTOCOMMIT")

    def end_sessions(conn: sa.Connection) -> None:
        mine = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with other.connect() as killer:
            killer.exec_driver_sql(f"SELECT pg_terminate_backend({mine})")

    sa.event.listen(database.engine, "commit", end_sessions)
    with pytest.raises(DatabaseUnavailable):
        finished(database, attempt)
    sa.event.remove(database.engine, "commit", end_sessions)
    other.dispose()
    assert everything(database) == before
    finished(database, attempt)
    assert everything(database) != before


def test_a_server_that_is_down_is_told() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        engine = open_engine(f"postgresql://fox:hunter2@127.0.0.1:{closed.getsockname()[1]}/db")
        client = DBOSClient(system_database_engine=engine, lazy=True)
        for ask in (
            lambda: accept(engine, client, a_video(), max_queued=1, max_queued_per_tenant=1),
            lambda: videos.check(engine),
            lambda: attempts.cancel_requested(engine, ["video_1"]),
        ):
            with pytest.raises(DatabaseUnavailable) as caught:
                ask()
            assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
        client.destroy()


def test_a_writer_that_finds_another_at_work_is_told_in_the_end(database: Database) -> None:
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL locks rows, not the file")
    attempt = begun(database, accepted(database))

    def be_impatient(connection: Any, _: object) -> None:
        connection.execute("PRAGMA busy_timeout=1")

    database.engine.dispose()
    with database.engine.connect() as writer:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        sa.event.listen(database.engine, "connect", be_impatient)
        with pytest.raises(DatabaseUnavailable, match="locked"):
            attempts.finish_stage(
                database.engine, database.client, attempt, a_result("stage_one"), "done", keep_s=KEEP_S
            )
        assert videos.read(database.engine, "fox", attempt.video.id).state == "in_progress"
        writer.rollback()
    finished(database, attempt)
