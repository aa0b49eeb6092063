import time
from collections.abc import Callable

import pytest

from deployments.database.batch_steps import refuse
from deployments.database.files import (
    GRACE_S,
    delete_file,
    input_file,
    list_files,
    read_file,
    sweep_files,
    unknown_paths,
)
from deployments.database.records import NotThere
from tests.deployments.batches import a_file, a_new_batch, created
from tests.deployments.videos import Database, rows


def swept(database: Database, now: float) -> list[str]:
    removed: list[str] = []
    sweep_files(database.engine, removed.append, now)
    return removed


def expired(database: Database) -> str:
    return a_file(database, expires_at=time.time() - 1).id


def deleted(database: Database) -> str:
    file = a_file(database)
    delete_file(database.engine, "fox", file.id)
    return file.id


def of_another(database: Database) -> str:
    return a_file(database, "owl").id


@pytest.mark.parametrize("hidden", [expired, deleted, of_another])
def test_a_file_that_is_not_shown(database: Database, hidden: Callable[[Database], str]) -> None:
    file_id, shown = hidden(database), a_file(database)
    for ask in (read_file, delete_file):
        with pytest.raises(NotThere):
            ask(database.engine, "fox", file_id)
    page = list_files(database.engine, "fox", purpose=None, after=None, limit=10, order="asc")
    assert page.items == [shown]


def test_files_are_listed_by_purpose_and_page(database: Database) -> None:
    inputs = [a_file(database) for _ in range(3)]
    output = a_file(database, purpose="batch_output")
    engine = database.engine
    first = list_files(engine, "fox", purpose="batch", after=None, limit=2, order="asc")
    assert (first.items, first.has_more) == (inputs[:2], True)
    last = list_files(engine, "fox", purpose="batch", after=inputs[1].id, limit=2, order="asc")
    assert (last.items, last.has_more) == (inputs[2:], False)
    assert list_files(engine, "fox", purpose="batch_output", after=None, limit=2, order="desc").items == [output]
    with pytest.raises(NotThere):
        list_files(engine, "owl", purpose=None, after=output.id, limit=2, order="asc")


def test_bytes_go_a_while_after_their_file(database: Database) -> None:
    file = a_file(database)
    delete_file(database.engine, "fox", file.id)
    assert swept(database, time.time()) == []
    assert swept(database, time.time() + GRACE_S) == [file.artifact.path]
    assert rows(database, "files") == []


def test_a_batch_keeps_its_input_until_it_has_ended(database: Database) -> None:
    file = a_file(database)
    batch = created(database, a_new_batch(file))
    delete_file(database.engine, "fox", file.id)
    assert swept(database, time.time() + 10 * GRACE_S) == []
    assert input_file(database.engine, "fox", file.id) == file
    refuse(database.engine, batch, [])
    assert swept(database, time.time() + GRACE_S) == [file.artifact.path]


def test_what_no_row_names_is_told(database: Database) -> None:
    known = a_file(database).artifact.path
    assert list(unknown_paths(database.engine, ["f/00/lost.jsonl", known])) == ["f/00/lost.jsonl"]
