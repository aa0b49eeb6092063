"""A real client against a real server that misbehaves."""

import asyncio

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


def ask(url: str, timeout_s: float = 10) -> str:
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


def test_nobody_there_and_nobody_in_time_are_unavailable() -> None:
    with chat_endpoint(lambda _: completion("{}"), delay_s=0.5) as endpoint, pytest.raises(EnhancerUnavailable):
        ask(endpoint.url, timeout_s=0.1)
    with pytest.raises(EnhancerUnavailable):
        ask(endpoint.url)


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
