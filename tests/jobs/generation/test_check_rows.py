from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError
from fv_ray.sizes import frames_by_seconds
from fv_ray.work_key import stage_one_work_key
from jobs.generation.check_rows import Asking, Row, check_rows, derived_seed
from jobs.generation.read_lines import Problem, RawRow
from jobs.generation.type_fields import read_changes


@pytest.fixture(scope="session")
def info(small_checkpoint: Path) -> CheckpointInfo:
    return CheckpointInfo.read(small_checkpoint)


def check(info: CheckpointInfo, *rows: Mapping[str, object], text: bool = False, **asking: Any) -> list[Row]:
    raw = (RawRow(f"t:{number}", fields, has_text_only=text) for number, fields in enumerate(rows))
    return list(check_rows(raw, Asking(**asking), info))


BATCH = {"custom_id": "a", "method": "POST", "url": "/v1/videos"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "prompt_missing"),
        ({"prompt": " \n"}, "prompt_empty"),
        ({"prompt": "x" * 32_001}, "prompt_too_long"),
        ({"prompt": 5}, "wrong_type"),
        ({"prompt": b"fox"}, "wrong_type"),
        ({"prompt": "\ud800"}, "invalid_value"),
        ({"prompt": "a\0b"}, "invalid_value"),
        ({"prompt": "fox", "seed": -1}, "invalid_value"),
        ({"prompt": "fox", "seed": 2**63}, "invalid_value"),
        ({"prompt": "fox", "seed": "7"}, "wrong_type"),
        ({"prompt": "fox", "seed": True}, "wrong_type"),
        ({"prompt": "fox", "seed": 1.5}, "wrong_type"),
        ({"prompt": "fox", "stage_two.shift": float("nan")}, "not_a_number"),
        ({"prompt": "fox", "stage_two.shift": float("inf")}, "not_a_number"),
        ({"prompt": "fox", "stage_two": {"height": 100}}, "invalid_value"),
        ({"prompt": "fox", "stage_two": {"heigth": 64}}, "unknown_field"),
        ({"prompt": "fox", "stage_two": 5}, "wrong_type"),
        ({"prompt": "fox", "num_frames": 4}, "invalid_value"),
        ({"prompt": "fox", "num_frames": 5, "stage_one": {"num_frames": 9}}, "invalid_value"),
        ({"prompt": "fox", "preset": "other"}, "invalid_value"),
        ({"prompt": "fox", "author": "me"}, "unknown_field"),
        ({"prompt": "fox", "id": ""}, "invalid_id"),
        ({"prompt": "fox", "id": "a\nb"}, "invalid_id"),
        ({"prompt": "fox", "id": "x" * 257}, "invalid_id"),
        ({**BATCH, "url": "/v1/images", "body": {"prompt": "fox"}}, "invalid_batch_line"),
        ({**BATCH, "body": {"prompt": "fox", "model": "flashvideo-preview"}}, "invalid_batch_line"),
        ({**BATCH, "body": {"prompt": "fox", "n": 2}}, "invalid_batch_line"),
        ({**BATCH, "body": {"prompt": "fox", "seed": 1, "flashvideo": {"seed": 2}}}, "invalid_batch_line"),
        ({**BATCH, "body": {"prompt": "fox", "size": "100x64"}}, "invalid_size"),
        ({**BATCH, "body": {"prompt": "fox", "size": "large"}}, "invalid_value"),
        (
            {**BATCH, "body": {"prompt": "fox", "size": "64x32", "flashvideo": {"stage_two": {"width": 64}}}},
            "invalid_value",
        ),
        ({**BATCH, "body": {"prompt": "fox", "seconds": "60"}}, "invalid_value"),
        ({**BATCH, "body": {"prompt": "fox", "seconds": 1, "flashvideo": {"num_frames": 9}}}, "invalid_value"),
        ({"prompt": "fox", "size": "64x32", "stage_two.width": 64}, "invalid_value"),
        ({"prompt": "fox", "size": "64x32", "stage_one.height": 0}, "invalid_size"),
        ({"prompt": "fox", "size": "64x32", "stage_one.height": 10**400}, "invalid_value"),
        ({"prompt": "fox", "size": "64x32", "num_frames": -(10**400)}, "invalid_value"),
        ({"prompt": "fox", "stage_two.shift": 10**400}, "invalid_value"),
        ({"prompt": "fox", "stage_one.prompt_prefix": "\ud800"}, "invalid_value"),
        ({**BATCH, "body": {"prompt": "fox", "seed": 1, "flashvideo": {"seed": "\ud800"}}}, "invalid_batch_line"),
    ],
)
def test_a_row_that_cannot_be_made_says_why(info: CheckpointInfo, fields: Mapping[str, object], code: str) -> None:
    good = {"prompt": "cat"}
    first, bad, last = check(info, good, fields, good)
    assert bad.problem is not None
    assert (bad.problem.code, bad.request, bad.key) == (code, None, "")
    assert first.problem is last.problem is None
    assert Row.model_validate_json(bad.model_dump_json()) == bad
    assert len(bad.problem.message) < 300


class Odd:
    """A value that nobody foresaw."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("odd")


def test_a_check_that_fails_costs_its_own_row_and_is_logged(
    info: CheckpointInfo, caplog: pytest.LogCaptureFixture
) -> None:
    odd, cat = check(info, {"id": "a", "prompt": Odd()}, {"prompt": "cat"})
    assert odd.problem is not None
    assert (odd.id, odd.problem.code, cat.problem) == ("a", "unexpected_error", None)
    assert "(ZeroDivisionError: 'odd')" in odd.problem.message
    assert "the check of row t:0 failed" in caplog.text


def test_a_problem_of_reading_is_passed_on(info: CheckpointInfo) -> None:
    problem = Problem("invalid_json", "the line is no JSON")
    (row,) = check_rows([RawRow("t:1", problem=problem)], Asking(), info)
    assert (row.problem, row.place, row.number) == (problem, "t:1", 0)


def test_of_two_given_ids_the_second_is_refused(info: CheckpointInfo) -> None:
    rows = check(info, {"id": "a", "prompt": "fox"}, {"id": "a", "prompt": "cat"}, {"id": 7, "prompt": "cat"})
    assert [row.problem and row.problem.code for row in rows] == [None, "duplicate_id", None]
    assert [row.id for row in rows] == ["a", "a", "7"]


def test_a_row_has_what_it_says_over_what_the_command_says_over_the_preset(info: CheckpointInfo) -> None:
    fields = {"prompt": "fox", "num_frames": 9, "stage_two": {"height": 32, "width": None}, "stage_one.height": 16.0}
    (row,) = check(info, fields, stage_one={"height": 48, "width": 16}, stage_two={"shift": 2.0})
    assert row.request is not None
    one, two = row.request.stage_one, row.request.stage_two
    assert (one.num_frames, one.height, one.width, one.num_inference_steps) == (9, 16, 16, 2)
    assert (two.height, two.width, two.shift) == (32, 64, 2.0)


def test_cells_of_text_are_read_as_numbers(info: CheckpointInfo) -> None:
    cells = {"prompt": "7", "seed": " 12 ", "stage_two.guidance_scale": "1.5", "stage_one.height": "", "preset": ""}
    (row,) = check(info, cells, text=True)
    assert row.request is not None
    assert (row.request.prompt, row.request.seed, row.request.stage_two.guidance_scale) == ("7", 12, 1.5)
    bad = check(info, *({"prompt": "fox", "seed": text} for text in ("1.5", "nan", "x", "9" * 50)), text=True)
    codes = [row.problem.code for row in bad if row.problem]
    assert codes == ["wrong_type", "not_a_number", "wrong_type", "invalid_value"]


def test_a_batch_line_is_the_row_that_it_says(info: CheckpointInfo) -> None:
    body = {"model": "flashvideo", "prompt": "fox", "flashvideo": {"seed": 5, "stage_two": {"shift": 2.0}}}
    (line,) = check(info, {**BATCH, "body": body})
    (row,) = check(info, {"id": "a", "prompt": "fox", "seed": 5, "stage_two": {"shift": 2.0}})
    assert line == row.model_copy(update={"place": line.place})


def test_a_batch_line_s_size_and_length_are_the_service_s(info: CheckpointInfo) -> None:
    def sizes(row: Row) -> tuple[int, ...]:
        assert row.request is not None
        one, two = row.request.stage_one, row.request.stage_two
        return (two.width, two.height, one.width, one.height, one.num_frames)

    usual, *_ = check(info, {**BATCH, "body": {"prompt": "fox"}})
    width, height, preview_width, preview_height, num_frames = sizes(usual)
    by_size, by_side = check(
        info,
        {**BATCH, "custom_id": "a", "body": {"prompt": "fox", "size": f"{width // 2}x{height // 2}", "seconds": 1}},
        {**BATCH, "custom_id": "b", "body": {"prompt": "fox", "flashvideo": {"stage_two": {"width": width // 2}}}},
    )
    half = (width // 2, height // 2, preview_width // 2, preview_height // 2)
    assert sizes(by_size) == (*half, frames_by_seconds(info)["1"])
    assert sizes(by_side) == (width // 2, height, preview_width // 2, preview_height, num_frames)
    of_run, in_table = check(
        info,
        {**BATCH, "custom_id": "a", "body": {"prompt": "fox"}},
        {"prompt": "fox", "size": f"{width // 2}x{height // 2}"},
        stage_two={"width": width // 2},
    )
    assert sizes(of_run)[:2] == (width // 2, height)
    assert sizes(in_table)[:2] == half[:2]


def test_a_seed_comes_from_the_run_and_the_id_never_from_the_position(info: CheckpointInfo) -> None:
    fox, cat = {"prompt": "fox"}, {"id": "c", "prompt": "cat"}
    seeds = [
        {row.id: row.request.seed for row in check(info, *rows) if row.request} for rows in ((fox, cat), (cat, fox))
    ]
    assert seeds[0] == seeds[1]
    assert seeds[0]["c"] == derived_seed(0, "c") == 9020782488445103816
    (other,) = check(info, cat, seed=1)
    assert other.request is not None
    assert other.request.seed != seeds[0]["c"]


def test_rows_that_ask_for_the_same_have_one_key(info: CheckpointInfo) -> None:
    same = check(
        info,
        {"prompt": "fox"},
        {"prompt": "fox"},
        {"id": "a", "prompt": "fox", "seed": 1},
        {"id": "b", "prompt": "fox", "seed": 1},
    )
    assert len({row.key for row in same}) == 2
    one, two = check(info, {"prompt": "fox", "seed": 1}, {"prompt": "fox", "seed": 1, "stage_two": {"shift": 2.0}})
    assert one.preview_key == two.preview_key
    assert one.key != two.key
    assert one.request is not None
    (preview,) = check(info, {"prompt": "fox", "seed": 1}, makes="previews")
    assert preview.key == preview.preview_key == stage_one_work_key(one.request, info.digest)


def test_changes_have_the_parameters_names() -> None:
    changes = read_changes(
        {"stage_one.num_inference_steps": "4", "stage_two.shift": "2", "stage_two.prompt_prefix": "x"}
    )
    assert changes == {"stage_one": {"num_inference_steps": 4}, "stage_two": {"shift": 2, "prompt_prefix": "x"}}
    for pairs in ({"steps": "4"}, {"stage_one.steps": "4"}, {"seed": "4"}, {"stage_one.height": "x"}):
        with pytest.raises(InputError):
            read_changes(pairs)
