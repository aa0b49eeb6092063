import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOSClient

from deployments.batch_files import MAX_FAULTS, check_rows, read_input, write_output
from deployments.config import AppConfig
from deployments.database.batch_records import FileRecord, RowRefusal
from deployments.database.batch_steps import begin_ending, collect
from deployments.database.videos import cancel
from deployments.http.service import Service
from fv_ray.artifact_store import ArtifactStore
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import ArtifactDamaged
from fv_ray.file_store import FileStore
from tests.deployments.batches import a_file, now, started, submitted
from tests.deployments.videos import Database


@pytest.fixture
def service(database: Database, checkpoint: Path, tmp_path: Path) -> Iterator[Service]:
    root = str(tmp_path / "artifacts")
    client = DBOSClient(system_database_engine=database.engine)
    yield Service(
        config=AppConfig(checkpoint=checkpoint),
        checkpoint=CheckpointInfo.read(checkpoint),
        engine=database.engine,
        client=client,
        store=ArtifactStore.open(root),
        files=FileStore.open(root),
    )
    client.destroy()


def line(custom_id: str, **changes: Any) -> bytes:
    body = {"prompt": "a fox", "seed": 7}
    told = {"custom_id": custom_id, "method": "POST", "url": "/v1/videos", "body": body} | changes
    return json.dumps(told).encode()


def stored(service: Service, database: Database, content: bytes, folder: Path) -> FileRecord:
    path = folder / "given.jsonl"
    path.write_bytes(content)
    return a_file(database, "default", artifact=service.files.put("file-in", path))


def test_rows_are_where_the_file_has_them(service: Service, database: Database, tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + line("a") + b"\r\n\n  \n" + line("b é") + b"\n" + line("c")
    file = stored(service, database, content, tmp_path)
    rows, faults = read_input(service.store, file)
    assert faults == []
    assert [(row.line, row.custom_id) for row in rows] == [(1, "a"), (4, "b é"), (5, "c")]
    batch = started(database, 1, "default")
    checked = check_rows(service, batch, file, rows[1:])
    assert [row.line for row in checked] == [4, 5]
    for row in checked:
        assert not isinstance(row.made, RowRefusal)
        assert (row.made.request.prompt, row.made.idempotency_key) == ("a fox", f"batch/{batch.id}/{row.line}")


def test_not_all_faults_of_a_hopeless_file_are_told(service: Service, database: Database, tmp_path: Path) -> None:
    file = stored(service, database, b"{\n" * (MAX_FAULTS + 50), tmp_path)
    rows, faults = read_input(service.store, file)
    assert (rows, [fault.line for fault in faults]) == ([], list(range(1, MAX_FAULTS + 1)))


def test_a_damaged_file_is_told_before_it_is_read(service: Service, database: Database, tmp_path: Path) -> None:
    file = stored(service, database, line("a"), tmp_path)
    (tmp_path / "artifacts" / file.artifact.path).write_bytes(line("b"))
    with pytest.raises(ArtifactDamaged):
        read_input(service.store, file)


def test_what_nobody_foresaw_of_a_row_stops_no_other(service: Service, database: Database, tmp_path: Path) -> None:
    file = stored(service, database, line("a") + b"\n" + line("b", body={}), tmp_path)
    rows, _ = read_input(service.store, file)
    broken = replace(service, checkpoint=None)  # type: ignore[arg-type]
    made = [row.made for row in check_rows(broken, started(database, 1, "default"), file, rows)]
    assert [(refusal.status, refusal.code) for refusal in made if isinstance(refusal, RowRefusal)] == [
        (500, "internal_error"),
        (400, "missing_required_parameter"),
    ]


def test_output_that_is_written_again_is_the_same(service: Service, database: Database, tmp_path: Path) -> None:
    batch = submitted(database, started(database, 3), 2, "preview")
    first, _ = collect(database.engine, batch)
    cancel(database.engine, "fox", first)
    collect(database.engine, batch)
    begin_ending(database.engine, batch, "expired")
    ending = now(database, batch)
    written = write_output(service, ending)
    assert write_output(service, ending) == written  # whoever wrote it first died before it said so
    assert (written.output, written.num_completed, written.num_failed) == (None, 0, 3)
    assert written.errors is not None
    lines = [json.loads(text) for text in service.store.read(written.errors).splitlines()]
    codes = [(told["custom_id"], told["error"]["code"]) for told in lines]
    assert codes == [("row 1", "cancelled"), ("row 2", "batch_expired"), ("row 3", "batch_expired")]
    assert len(list((tmp_path / "artifacts" / "f").rglob("*.jsonl"))) == 1
