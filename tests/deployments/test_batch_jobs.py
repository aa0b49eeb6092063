"""Real workflows on real databases, in processes that are killed."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dbos import DBOSClient
from starlette.testclient import TestClient

from deployments.config import AppConfig
from deployments.database.batch_steps import load_batch
from deployments.database.engine import open_engine
from deployments.database.tables import attempts, batch_rows, videos
from deployments.http.api import make_api
from deployments.orchestrator import open_service

ROOT = Path(__file__).parents[2]
NUM_ROWS = 24
NUM_KILLS = 3
REFUSED, FAILS = 5, 9

ORCHESTRATOR = """
import asyncio
import sys
import threading
from deployments.config import AppConfig
from deployments.orchestrator import launch_jobs
from deployments.stage_work import Done
from fv_ray.errors import InputError
from tests.deployments.videos import a_result

async def stage(work):
    await asyncio.sleep(0.01)
    if work.request.prompt == "fails":
        raise InputError("it cannot be made")
    yield Done(record=a_result(work.stage, work.video_id), is_reused=False)

launch_jobs(AppConfig.model_validate_json(sys.argv[1]), {"stage_one": stage, "stage_two": stage}, int(sys.argv[2]))
threading.Event().wait()
"""


@pytest.fixture
def config(url: str, tmp_path: Path) -> AppConfig:
    return AppConfig.model_validate(
        {
            "database_url": url,
            "storage_url": str(tmp_path / "artifacts"),
            "first_retry_s": 0.01,
            "batches": {"max_open_rows": 4, "look_every_s": 0.05},
        }
    )


@pytest.fixture
def client(config: AppConfig) -> Iterator[TestClient]:
    engine = open_engine(config.database_url)
    queue = DBOSClient(system_database_engine=engine)
    yield TestClient(make_api(open_service(config, engine, queue)))
    queue.destroy()
    engine.dispose()


def engine_of(client: TestClient) -> sa.Engine:
    engine: sa.Engine = client.app.state.service.engine  # type: ignore[attr-defined]
    return engine


@contextmanager
def orchestrator(config: AppConfig, rank: int = 0) -> Iterator[None]:
    """A process that is killed in the end."""
    command = [sys.executable, "-c", ORCHESTRATOR, config.model_dump_json(), str(rank)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()


def run(client: TestClient, lines: list[bytes]) -> str:
    given = {"files": {"file": ("rows.jsonl", b"\n".join(lines))}, "data": {"purpose": "batch"}}
    file = client.post("/v1/files", **given).json()  # type: ignore[arg-type]
    body = {"input_file_id": file["id"], "endpoint": "/v1/videos", "completion_window": "24h"}
    batch_id: str = client.post("/v1/batches", json=body).json()["id"]
    return batch_id


def a_line(number: int) -> bytes:
    prompt = {REFUSED: " ", FAILS: "fails"}.get(number, "a fox")
    body = {"prompt": prompt, "model": "flashvideo" if number % 4 == 0 else "flashvideo-preview"}
    line = {"custom_id": f"row {number}", "method": "POST", "url": "/v1/videos", "body": body}
    return json.dumps(line).encode()


def count(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as conn:
        return conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def wait_for_rows(engine: sa.Engine, num_videos: int) -> None:
    while count(engine, videos) < num_videos:
        time.sleep(0.01)


def lines_of(client: TestClient, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get(f"/v1/files/{file_id}/content").text.splitlines()]


@pytest.mark.slow
def test_no_kill_loses_or_doubles_a_row(config: AppConfig, client: TestClient) -> None:
    draws = random.Random(7)
    batch_id = run(client, [a_line(number) for number in range(1, NUM_ROWS + 1)])
    engine = engine_of(client)
    moments = sorted(draws.sample(range(1, NUM_ROWS - 1), NUM_KILLS))
    for rank, moment in zip((1, 0, 0), moments, strict=True):  # there is no rank 1 any more when rank 0 comes
        with orchestrator(config, rank):
            wait_for_rows(engine, moment)
            time.sleep(draws.uniform(0, 0.1))
    with orchestrator(config):
        while (batch := load_batch(engine, batch_id)) is not None and batch.ended_at is None:
            assert count(engine, videos) <= NUM_ROWS
            time.sleep(0.05)
    assert batch is not None
    assert (batch.state, batch.num_completed, batch.num_failed) == ("completed", NUM_ROWS - 2, 2)

    output, errors = (lines_of(client, str(file_id)) for file_id in (batch.output_file_id, batch.error_file_id))
    failed = [REFUSED, FAILS]
    made = [number for number in range(1, NUM_ROWS + 1) if number not in failed]
    assert [line["custom_id"] for line in output] == [f"row {number}" for number in made]
    assert [line["custom_id"] for line in errors] == [f"row {number}" for number in failed]
    assert [(line["response"]["status_code"], (line["error"] or {}).get("code")) for line in errors] == [
        (400, None),
        (200, "input_error"),
    ]
    assert {line["response"]["body"]["status"] for line in output} == {"completed"}
    assert len({line["response"]["body"]["id"] for line in output}) == len(made)
    assert count(engine, videos) == NUM_ROWS - 1  # the blank prompt never was one
    with engine.connect() as conn:
        assert set(conn.execute(sa.select(batch_rows.c.state)).scalars()) == {"completed", "failed"}
        runs = Counter((row.video_id, row.stage) for row in conn.execute(sa.select(attempts)))
    num_stages = NUM_ROWS - 1 + NUM_ROWS // 4
    assert num_stages <= runs.total() <= num_stages + NUM_KILLS * 4
