import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fv_ray.checkpoint import DEFAULT_MODEL, CheckpointInfo
from fv_ray.errors import InputError, StoreUnavailable
from fv_ray.training.procedural.captions import split_words, vocabulary
from jobs.generation import ask_store
from jobs.generation.check_rows import Asking, check_rows
from jobs.generation.read_prompts import find_tables, read_prompts
from jobs.generation.type_fields import COLUMNS
from tests.object_store import ObjectStore

ROOT = Path(__file__).parents[3]


def rows(source: object) -> list[tuple[str, object]]:
    found = read_prompts(find_tables(str(source)), COLUMNS)
    return [(row.place, row.problem.code if row.problem else row.fields.get("prompt")) for row in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.txt").write_text("fox\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.CSV").write_text("prompt\ncat\n")
    (tmp_path / "c.jsonl").write_text('{"prompt": "dog"}\n')
    pq.write_table(pa.table({"prompt": ["hen", "cow"], "size": [b"x", b"y"]}), tmp_path / "d.parquet")
    for hidden in (".a.txt", "_SUCCESS.txt", "notes.md"):
        (tmp_path / hidden).write_text("no prompt\n")
    return tmp_path


def test_a_folder_a_glob_and_a_file_are_read_in_the_order_of_names(folder: Path) -> None:
    everything = [("b.txt:1", "fox"), ("c.jsonl:1", "dog"), ("d.parquet:1", "hen"), ("d.parquet:2", "cow")]
    assert rows(folder) == [*everything, ("more/a.CSV:2", "cat")]
    assert rows(f"file://{folder}") == rows(folder)
    assert [prompt for _, prompt in rows(folder / "*.[jt]*")] == ["fox", "dog"]
    assert rows(folder / "b.txt") == [("b.txt:1", "fox")]


def test_an_object_store_is_read(s3: object, folder: Path) -> None:  # noqa: ARG001
    import s3fs

    s3fs.S3FileSystem().pipe_file("bucket/table/b.txt", (folder / "b.txt").read_bytes())
    assert rows("s3://bucket/table") == [("b.txt:1", "fox")]


def test_an_object_store_that_does_not_answer_is_told_as_what_passes(
    s3: ObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setattr(ask_store, "PATIENCE_S", 0)
    s3fs.S3FileSystem().pipe_file("bucket/unreachable/b.txt", (folder / "b.txt").read_bytes())
    table = find_tables("s3://bucket/unreachable/")
    with s3.spoiled(lambda *_: "refuse"):
        for use in (lambda: find_tables("s3://bucket/unreachable/"), lambda: list(read_prompts(table, COLUMNS))):
            with pytest.raises(StoreUnavailable, match="cannot be reached .*: try again later"):
                use()


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.csv", "simplecache::file:///a.csv", "ftp://host/a.csv"])
def test_an_input_that_is_none_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give another|give one"):
        find_tables(source if ":" in source else f"{tmp_path}/{source}")


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no table at"):
        find_tables(str(tmp_path))


def test_a_name_that_is_no_utf_8_is_told_escaped(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.txt")).write_text("fox\n")
    assert rows(tmp_path) == [("a\\udcff.txt:1", "fox")]


def test_damaged_parquet_is_a_row_with_a_problem(folder: Path) -> None:
    data = (folder / "d.parquet").read_bytes()
    (folder / "d.parquet").write_bytes(data[:-20])
    assert ("d.parquet", "invalid_parquet") in rows(folder)
    assert ("more/a.CSV:2", "cat") in rows(folder)


def test_every_shipped_prompt_can_be_made_and_says_nothing_that_the_embedded_model_does_not_know() -> None:
    info, table = CheckpointInfo.read(DEFAULT_MODEL), find_tables(str(ROOT / "examples" / "prompts.csv"))
    checked = list(check_rows(read_prompts(table, COLUMNS), Asking(), info))
    assert len(checked) >= 40
    for row in checked:
        assert row.request is not None, row.problem
        words = split_words(row.request.prompt)
        assert set(words) <= set(vocabulary())
        assert 8 <= len(words) < info.max_prompt_tokens
