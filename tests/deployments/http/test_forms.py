import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from deployments.http.bodies import CreateBody
from deployments.http.errors import ApiError
from deployments.http.forms import parse_json, read_body, unbracket

BOUNDARY = "b"


def read(content_type: str, body: bytes) -> CreateBody:
    """As the routes read it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "app": None, "method": "POST", "headers": [(b"content-type", content_type.encode())]}
    return asyncio.run(read_body(Request(scope, receive), CreateBody))


def read_json(body: Any) -> CreateBody:
    return read("application/json", json.dumps(body).encode())


def read_form(*fields: tuple[str, str], extra: bytes = b"") -> CreateBody:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    body = "".join(parts).encode() + extra + f"--{BOUNDARY}--\r\n".encode()
    return read(f"multipart/form-data; boundary={BOUNDARY}", body)


def refused(body: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        read_json(body)
    return error.value


def test_a_form_is_read_as_the_json_that_says_the_same() -> None:
    of_json = read_json(
        {
            "prompt": "a fox",
            "seed": 7,
            "seconds": "6",
            "flashvideo": {"stage_two": {"num_inference_steps": 4, "guidance_scale": 1.5}},
        }
    )
    of_form = read_form(
        ("prompt", "a fox"),
        ("seed", "7"),
        ("seconds", "6"),
        ("flashvideo[stage_two][num_inference_steps]", "4"),
        ("flashvideo[stage_two][guidance_scale]", "1.5"),
    )
    assert of_form == of_json
    assert of_json.flashvideo.stage_two.num_inference_steps == 4


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"negative_prompt": "x"}, "negative_prompt"),
        ({"flashvideo": {"stage_two": {"steps": 4}}}, "flashvideo.stage_two.steps"),
    ],
)
def test_an_unknown_field_is_named(extra: dict[str, Any], param: str) -> None:
    error = refused({"prompt": "a fox"} | extra)
    assert (error.status, error.code, error.param) == (400, "unknown_parameter", param)
    assert param in error.message


def test_lists_of_a_form_are_named_as_unknown_fields() -> None:
    with pytest.raises(ApiError) as error:
        read_form(("prompt", "a fox"), ("tags[]", "one"), ("tags[]", "two"))
    assert (error.value.code, error.value.param) == ("unknown_parameter", "tags")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": "x" * 32_001},
        {"prompt": ["a fox"]},
        {"prompt": "a fox", "seed": True},
        {"prompt": "a fox", "seed": "7"},
        {"prompt": "a fox", "seed": 1.0},
        {"prompt": "a fox", "seed": -1},
        {"prompt": "a fox", "seed": 2**63},
        {"prompt": "a fox", "seconds": 0},
        {"prompt": "a fox", "seconds": "6.5"},
        {"prompt": "a fox", "size": "0x0"},
        {"prompt": "a fox", "size": "1920×1072"},
        {"prompt": "a fox", "size": "100000x100000"},
        {"prompt": "a fox", "flashvideo": []},
        {"prompt": "a fox", "flashvideo": {"stage_two": {"guidance_scale": 1e308}}},
        {"prompt": "a fox", "flashvideo": {"stage_two": {"shift": 0}}},
        {"prompt": "a fox", "flashvideo": {"stage_two": {"noise_level": 1000}}},
        {"prompt": "a fox", "flashvideo": {"num_frames": 0}},
    ],
)
def test_what_no_checkpoint_can_make_is_refused(wrong: dict[str, Any]) -> None:
    assert refused(wrong).status == 400


@pytest.mark.parametrize("name", ["input_reference", "video"])
def test_what_openai_has_and_flashvideo_has_not_is_told(name: str) -> None:
    error = refused({"prompt": "a fox", name: {"image_url": "https://example.com/fox.png"}})
    assert (error.code, error.param) == ("unsupported_parameter", name)


def test_a_file_is_told_as_unsupported() -> None:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="input_reference"; filename="upload"\r\n'
    with pytest.raises(ApiError) as error:
        read_form(("prompt", "a fox"), extra=part.encode() + b"\r\n\xff\xd8\xff\r\n")
    assert (error.value.code, error.value.param) == ("unsupported_parameter", "input_reference")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"prompt": "a", "prompt": "b"}', "twice"),
        (b'{"a": {"b": 1, "b": 2}}', "twice"),
        (b'{"seed": NaN}', "NaN"),
        (b'{"seed": -Infinity}', "Infinity"),
        (b'{"seed": 1e999}', "finite"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        (b'{"a": ' * 17 + b"1" + b"}" * 17, "deeper than 16"),
        (b"[" * 30_000, "deeper than 16"),
        (b'{"seed": ' + b"9" * 5_000 + b"}", "JSON"),
        (b"[]", "object"),
        (b"", "JSON"),
        (b'{"prompt": "a"', "JSON"),
    ],
)
def test_what_parsers_read_differently_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(ApiError, match=told) as error:
        parse_json(body)
    assert (error.value.status, error.value.code) == (400, "invalid_body")


@pytest.mark.parametrize(
    "pairs",
    [
        [("prompt", "a"), ("prompt", "b")],
        [("a", "1"), ("a[b]", "1")],
        [("a[b]", "1"), ("a", "1")],
        [("a[b", "1")],
        [("a]b[", "1")],
        [("", "1")],
        [("a" + "[b]" * 20, "1")],
        [("a", "\x00")],
    ],
)
def test_a_form_that_is_spelled_wrongly_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ApiError) as error:
        unbracket(pairs)
    assert error.value.code == "invalid_body"


def test_a_form_in_another_encoding_is_refused() -> None:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'.encode()
    with pytest.raises(ApiError, match="UTF-8"):
        read_form(extra=part + b"f\xfcchsin\r\n")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed"])
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(ApiError) as error:
        read(content_type, b'{"prompt": "a fox"}')
    assert error.value.status == 415


@pytest.mark.parametrize("content_type", ["multipart/form-data", f"multipart/form-data; boundary={BOUNDARY}"])
def test_a_torn_form_is_refused(content_type: str) -> None:
    with pytest.raises(ApiError) as error:
        read(content_type, b"--b\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--b--")
    assert error.value.status == 400


def test_emoji_and_right_to_left_words_are_prompts_like_others() -> None:
    prompt = "a 🦊 in the שלג, e\u0301"
    assert read_json({"prompt": prompt}).prompt == read_form(("prompt", prompt)).prompt == prompt
