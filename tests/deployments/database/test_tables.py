import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployments.database.engine import open_engine
from deployments.database.fair_order import MAX_INTERACTIVE_TAG
from deployments.database.tables import batch_rows, results, videos

IS_INTERACTIVE = videos.c.priority <= MAX_INTERACTIVE_TAG
COUNT = sa.select(sa.func.count()).select_from(videos)
OF_STAGE = videos.c.stage == "stage_one"
QUESTIONS = {
    "how many wait": (COUNT.where(videos.c.is_waiting, IS_INTERACTIVE), "videos_waiting_of_tenant"),
    "how many of a tenant wait": (
        COUNT.where(videos.c.is_waiting, IS_INTERACTIVE, videos.c.tenant == "fox"),
        "videos_waiting_of_tenant",
    ),
    "a tenant's last tag": (
        sa.select(sa.func.max(videos.c.priority)).where(
            videos.c.is_waiting, videos.c.tenant == "fox", OF_STAGE, videos.c.priority > 0, IS_INTERACTIVE
        ),
        "videos_waiting_of_tenant",
    ),
    "how many go first": (
        COUNT.where(videos.c.is_waiting, OF_STAGE, sa.tuple_(videos.c.priority, videos.c.queued_at) < (3, 4.0)),
        "videos_waiting",
    ),
    "how many run": (COUNT.where(OF_STAGE, videos.c.state == "in_progress", ~videos.c.is_waiting), "videos_running"),
    "who has a result": (sa.select(results.c.work_key).where(results.c.work_key.in_(["0"])), "results_of_work"),
    "which rows of a batch are open": (
        sa.select(batch_rows.c.line).where(batch_rows.c.batch_id == "batch_1", batch_rows.c.state == "open"),
        "batch_rows_open",
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_asked_often_is_answered_from_an_index(question: str, sqlite_template: Path, tmp_path: Path) -> None:
    """PostgreSQL's plans depend on what is in the tables; SQLite's do not."""
    query, index = QUESTIONS[question]
    engine = open_engine(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'videos.sqlite')}")
    with engine.connect() as conn:
        text = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
        steps = [row.detail for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    engine.dispose()
    assert [step for step in steps if f" INDEX {index} " not in f"{step} "] == []
