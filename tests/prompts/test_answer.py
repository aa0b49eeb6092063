"""Recorded answers, of good kinds and bad."""

import json

import pytest

from fv_ray.prompts.answer import AnswerRefused, answer_schema, read_answer

GOOD = {"caption": "A dog runs.", "motion": "high", "subjects": ["dog"], "language": "en"}
VALID = json.dumps(GOOD)


@pytest.mark.parametrize(
    "text",
    [
        VALID,
        f"```json\n{VALID}\n```",
        f"Sure! Here is your caption:\n\n{VALID}\n\nLet me know if you would like it {{shorter}}.",
        f"<think>The user wants {{a dog}}.</think>{VALID}",
        VALID.replace("A dog runs.", r"A dog\n\truns.\u0000"),
        VALID.replace("A dog runs.", "A dog\n runs."),
    ],
    ids=["valid", "fenced", "chatty", "thinking aloud", "control characters", "raw line break"],
)
def test_a_usable_answer_is_read(text: str) -> None:
    assert read_answer(text).model_dump(mode="json") == GOOD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (VALID[:-20], "breaks off"),
        (VALID[:18], "breaks off"),
        ("I'm sorry, but I can't help with that.", "no JSON object"),
        ("A dog runs across a field.", "no JSON object"),
        (json.dumps([1, 2]), "no JSON object"),
        (VALID + VALID, "several"),
        (json.dumps(GOOD | {"motion": "fast"}), "motion"),
        (json.dumps(GOOD | {"caption": " \n "}), "caption"),
        (json.dumps(GOOD | {"caption": ["A dog"]}), "caption"),
        (json.dumps(GOOD | {"language": "English"}), "language"),
        (json.dumps(GOOD | {"score": 1}), "score"),
        (json.dumps({"caption": "A dog runs."}), "motion"),
        ("{" * 100_000, "no JSON object"),
    ],
)
def test_an_unusable_answer_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(AnswerRefused, match=reason):
        read_answer(text)


def test_the_schema_asks_for_every_field_and_no_other() -> None:
    schema = answer_schema()
    assert set(schema["required"]) == set(schema["properties"]) == set(GOOD)
    assert schema["additionalProperties"] is False
