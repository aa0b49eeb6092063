"""A real client against a real server that misbehaves."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fv_ray.errors import EnhancerUnavailable
from fv_ray.prompts.answer import AnswerRefused, answer_schema
from fv_ray.prompts.endpoint import Endpoint
from fv_ray.prompts.messages import messages_for
from tests.chat_endpoint import (
    BAD_GATEWAY,
    EMPTY,
    ERROR,
    HTML,
    NO_CHOICES,
    NO_JSON,
    OTHER_JSON,
    Reply,
    chat_endpoint,
    completion,
)

KEY = "TEST_ENDPOINT_KEY"
PATIENCE_S = 120


def ask(url: str, timeout_s: float = PATIENCE_S) -> str:
    async def once() -> str:
        endpoint = Endpoint(url, "tiny", api_key_env=KEY, timeout_s=timeout_s)
        try:
            return await endpoint.ask(messages_for("a fox", 226), 2**63 - 1)
        finally:
            await endpoint.close()

    return asyncio.run(once())


def test_it_is_asked_for_the_schema_with_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-1")
    with chat_endpoint(lambda _: completion("{}")) as endpoint:
        assert ask(endpoint.url) == "{}"
    (asked,) = endpoint.asked
    assert asked["path"] == "/v1/chat/completions"
    assert asked["response_format"]["json_schema"]["schema"] == answer_schema()
    assert (asked["model"], asked["temperature"]) == ("tiny", 0)
    assert asked["messages"] == messages_for("a fox", 226)
    assert endpoint.keys == ["Bearer sk-1"]


@pytest.mark.parametrize(
    "reply",
    [ERROR, BAD_GATEWAY, HTML, NO_JSON, OTHER_JSON, NO_CHOICES, EMPTY, None],
    ids=["500", "502", "html", "no json", "other json", "no choices", "empty", "hangs up"],
)
def test_an_endpoint_that_does_not_speak_the_protocol_is_unavailable(reply: Reply | None) -> None:
    with chat_endpoint(lambda _: reply) as endpoint, pytest.raises(EnhancerUnavailable):
        ask(endpoint.url)


def test_nobody_there_is_unavailable() -> None:
    with chat_endpoint(lambda _: completion("{}")) as endpoint:
        pass
    with pytest.raises(EnhancerUnavailable):
        ask(endpoint.url)


def test_one_that_is_silent_is_left_within_the_limit() -> None:
    """It says nothing until it is left, and so it could not have answered."""
    let_go = threading.Event()

    def silent(_: dict[str, Any]) -> Reply:
        let_go.wait(PATIENCE_S)
        return completion("{}")

    with chat_endpoint(silent) as endpoint:
        with pytest.raises(EnhancerUnavailable, match="APITimeoutError|TimeoutError"):
            ask(endpoint.url, timeout_s=0.2)
        let_go.set()


def test_one_that_goes_on_for_ever_is_left_within_the_limit() -> None:
    """Bytes come all the time; the answer never does, and so only the limit on the whole can end it."""

    def for_ever() -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b" "

    def reply(_: dict[str, Any]) -> Reply:
        return 200, "application/json", for_ever()

    with chat_endpoint(reply) as endpoint, pytest.raises(EnhancerUnavailable, match="TimeoutError"):
        ask(endpoint.url, timeout_s=0.2)


@pytest.mark.parametrize(
    "reply",
    [completion(None, refusal="no"), completion('{"cap', finish_reason="length")],
    ids=["declines", "broken off"],
)
def test_an_answer_that_is_none_is_refused(reply: Reply) -> None:
    with chat_endpoint(lambda _: reply) as endpoint, pytest.raises(AnswerRefused):
        ask(endpoint.url)


def test_a_failure_is_tried_once_more() -> None:
    replies = [ERROR, completion("{}")]
    with chat_endpoint(lambda _: replies.pop(0)) as endpoint:
        assert ask(endpoint.url) == "{}"
