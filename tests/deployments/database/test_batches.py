from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from deployments.database.batch_records import TooManyBatches
from deployments.database.batch_steps import begin_ending, refuse
from deployments.database.batches import cancel_batch, list_batches, read_batch
from deployments.database.records import KeyReused, NotThere
from deployments.job_names import APPLICATION_VERSION, BATCHES, RUN_BATCH
from tests.deployments.batches import a_file, a_new_batch, created, now, started
from tests.deployments.videos import Database, everything, workflows


def test_a_batch_comes_with_the_workflow_that_runs_it(database: Database) -> None:
    batch = created(database, a_new_batch(a_file(database), metadata={"of": "naïve 🦊"}))
    assert read_batch(database.engine, "fox", batch.id) == batch
    assert (batch.state, batch.metadata) == ("validating", {"of": "naïve 🦊"})
    [workflow] = workflows(database)
    told = [workflow[name] for name in ("workflow_uuid", "name", "queue_name", "status", "application_version")]
    assert told == [batch.id, RUN_BATCH, BATCHES, "ENQUEUED", APPLICATION_VERSION]


def test_the_same_key_is_one_batch(database: Database) -> None:
    file = a_file(database)
    new = a_new_batch(file, idempotency_key="client/1", request_hash="a")
    with ThreadPoolExecutor(4) as pool:
        ids = {batch.id for batch in pool.map(lambda _: created(database, new), range(8))}
    assert len(ids) == len(workflows(database)) == 1
    with pytest.raises(KeyReused):
        created(database, a_new_batch(file, idempotency_key="client/1", request_hash="b"))


def test_an_input_must_be_there(database: Database) -> None:
    before = everything(database)
    strangers = a_new_batch(a_file(database, "owl"))
    for new in (a_new_batch(a_file(database, purpose="batch_output")), a_new_batch(a_file(database, expires_at=1.0))):
        with pytest.raises(NotThere):
            created(database, new)
    with pytest.raises(NotThere):
        created(database, replace(strangers, tenant="fox"))
    assert everything(database) | {"files": []} == before


def test_a_tenant_has_so_many_open_batches(database: Database) -> None:
    open_ones = [created(database, most=2) for _ in range(2)]
    with pytest.raises(TooManyBatches):
        created(database, most=2)
    created(database, a_new_batch(a_file(database, "owl")), most=2)
    refuse(database.engine, open_ones[0], [])
    created(database, most=2)


def test_batches_are_listed_by_page(database: Database) -> None:
    batches = [created(database) for _ in range(3)]
    first = list_batches(database.engine, "fox", after=None, limit=2)
    assert (first.items, first.has_more) == (batches[:0:-1], True)
    assert list_batches(database.engine, "fox", after=batches[1].id, limit=2).items == batches[:1]
    assert list_batches(database.engine, "owl", after=None, limit=2).items == []


def test_a_cancelled_batch_ends_only_by_its_workflow(database: Database) -> None:
    with pytest.raises(NotThere):
        cancel_batch(database.engine, "owl", started(database, 1).id)
    for batch in (created(database), started(database, 1)):
        cancelling = cancel_batch(database.engine, "fox", batch.id)
        assert (cancelling.state, cancelling.outcome, cancelling.ended_at) == ("cancelling", "cancelled", None)
        assert cancel_batch(database.engine, "fox", batch.id) == cancelling


def test_a_batch_whose_rows_have_ended_is_not_cancelled(database: Database) -> None:
    batch = started(database, 1)
    begin_ending(database.engine, batch, "completed")
    assert cancel_batch(database.engine, "fox", batch.id) == now(database, batch)
    assert now(database, batch).outcome == "completed"
