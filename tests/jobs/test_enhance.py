"""Tables of prompts, by rules and by a real endpoint; vLLM's own way is tested in tests/vllm."""

import csv
import inspect
import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from fv_ray.errors import CheckpointError, EnhancerUnavailable, InputError, StorageError
from fv_ray.training.procedural import rules
from jobs.enhance import enhance
from jobs.read_table import read_table
from tests.chat_endpoint import ERROR, Reply, chat_endpoint, completion
from tests.prompt_checkpoint import make_prompt_checkpoint
from tests.prompts.test_enhancing import CAPTION, PROMPT, answer


def run(table: object, output: object, **changes: Any) -> None:
    parameters = inspect.signature(enhance).parameters.items()
    defaults = {name: each.default for name, each in parameters if each.default is not inspect.Parameter.empty}
    enhance(**{**defaults, "table": str(table), "output": str(output), **changes})


def rows_of(table: object) -> list[Any]:
    fs, path = fsspec.core.url_to_fs(str(table))
    return read_table(fs, path)[1]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "prompt", "seed"], ["a", "a red ball", 1], ["b", 'ein Fuchs, "x"', ""]])
        writer.writerow(["c", "a large striped red ball rises on a dark background", 3])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_keep_their_columns_and_order_and_get_captions(table: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    run(table, output, seed=5)
    first, second, third = rows_of(output)
    assert [row["id"] for row in (first, second, third)] == ["a", "b", "c"]
    assert first["enhanced_prompt"] == rules.enhance("a red ball", 1).enhanced_prompt
    assert second["enhanced_prompt"] == rules.enhance('ein Fuchs, "x"', 5).enhanced_prompt
    assert "not used: ein, Fuchs" in second["notes"]
    assert (third["enhanced_prompt"] or None, third["enhancement"]) == (None, "long_enough")


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(table: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    run(table, whole)
    run(table, output, rows_per_part=1)
    parts = Path(f"{output}.parts")
    output.unlink()
    (parts / "000000001.jsonl").unlink()
    kept = parts / "000000000.jsonl"
    kept.write_text(kept.read_text().replace(" ball ", " BALL "))  # to be told from one that is made again
    run(table, output, rows_per_part=1)
    assert output.read_text() == whole.read_text().replace(" ball ", " BALL ", 1)
    with pytest.raises(StorageError, match="begun otherwise: seed"):
        run(table, output, seed=9)
    table.write_text(table.read_text() + "d,a star,4\n")
    with pytest.raises(StorageError, match="begun otherwise: input_sha256"):
        run(table, output)


def test_an_endpoint_is_asked_and_what_it_spoils_is_told(tmp_path: Path) -> None:
    checkpoint = make_prompt_checkpoint(tmp_path / "checkpoint")
    table, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    table.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in (PROMPT, "a cat", CAPTION * 2)))

    def reply(asked: dict[str, Any]) -> Reply:
        return completion(answer() if "foxes" in asked["messages"][7]["content"] else "no")

    with chat_endpoint(reply) as endpoint:
        run(table, output, kind="openai", model="tiny", base_url=endpoint.url, checkpoint=str(checkpoint))
    first, second, third = rows_of(output)
    assert (first["enhanced_prompt"], first["motion"]) == (CAPTION, "medium")
    assert (second["enhanced_prompt"], second["enhancement"]) == (None, "refused")
    assert third["enhancement"] == "long_enough"
    assert len(endpoint.asked) == 1 + 3


def test_an_endpoint_that_goes_away_stops_the_job_and_the_next_run_goes_on(tmp_path: Path) -> None:
    checkpoint = make_prompt_checkpoint(tmp_path / "checkpoint")
    table, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    table.write_text("".join(json.dumps({"prompt": f"{PROMPT}, take {'again ' * n}"}) + "\n" for n in range(40)))
    num_asked = 0

    def fails_at_last(_: dict[str, Any]) -> Reply:
        nonlocal num_asked
        num_asked += 1
        return completion(answer()) if num_asked <= 32 else ERROR

    common: dict[str, Any] = {"kind": "openai", "model": "tiny", "checkpoint": str(checkpoint), "rows_per_part": 8}
    with chat_endpoint(fails_at_last) as endpoint:
        common["base_url"] = endpoint.url
        with pytest.raises(EnhancerUnavailable):
            run(table, output, **common)
        assert not output.exists()
        endpoint.answer = lambda _: completion(answer())
        endpoint.asked.clear()
        run(table, output, **common)
    assert len(endpoint.asked) == 8
    assert {row["enhanced_prompt"] for row in rows_of(output)} == {CAPTION}


def test_what_cannot_be_done_is_refused_at_once(table: Path, tmp_path: Path, checkpoint: Path) -> None:
    output = tmp_path / "out.csv"
    for error, match, changes in (
        (InputError, "base_url", {"kind": "openai", "model": "m"}),
        (InputError, "neither", {"model": "m"}),
        (InputError, "row 0 .* no text in column 'text'", {"column": "text"}),
        (InputError, "must end in", {"output": str(tmp_path / "out.txt")}),
        (CheckpointError, "openai or vllm", {"checkpoint": str(checkpoint)}),
        (CheckpointError, r"no config\.json", {"kind": "vllm", "model": str(tmp_path / "none")}),
    ):
        with pytest.raises(error, match=match):
            run(table, changes.pop("output", output), **changes)
    table.write_text("prompt,notes\na,b\n")
    with pytest.raises(InputError, match="column 'notes'"):
        run(table, output)
    table.write_text("prompt,seed\na,-1\n")
    with pytest.raises(InputError, match="row 0 .* seed '-1'"):
        run(table, output)
