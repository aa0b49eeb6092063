"""A language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from fv_ray.errors import EnhancerUnavailable, InputError
from fv_ray.prompts.answer import MAX_ANSWER_TOKENS, AnswerRefused, answer_schema
from fv_ray.prompts.messages import Message

NO_KEY = "none"
"""What is sent where the environment holds no key: an endpoint of one's own may ask for none."""
NUM_TRIES = 2
"""Of the client, where a try fails or takes `timeout_s`."""


class Endpoint:
    """Asks one model. Close it when it is needed no more."""

    def __init__(self, base_url: str, model: str, *, api_key_env: str, timeout_s: float) -> None:
        try:
            from openai import AsyncOpenAI
        except ImportError:
            raise InputError(
                "the openai client is not installed; an endpoint is asked through it: pip install 'fv-ray[serve]'"
            ) from None
        self._model, self._limit_s = model, NUM_TRIES * timeout_s
        key = os.environ.get(api_key_env) or NO_KEY
        self._client = AsyncOpenAI(base_url=base_url, api_key=key, timeout=timeout_s, max_retries=NUM_TRIES - 1)

    async def ask(self, messages: Sequence[Message], seed: int) -> str:
        """What the model answers.

        Raises:
            EnhancerUnavailable: the endpoint does not answer, or not in its protocol.
            AnswerRefused: the model declines, or its answer breaks off.
        """
        from openai import OpenAIError

        schema = {"name": "caption", "schema": answer_schema(), "strict": True}
        try:
            async with asyncio.timeout(self._limit_s):  # the client's own begins anew with every byte that comes
                completion: Any = await self._client.chat.completions.create(
                    model=self._model,
                    messages=list(messages),
                    response_format={"type": "json_schema", "json_schema": schema},
                    temperature=0,
                    seed=seed % 2**31,
                    max_tokens=MAX_ANSWER_TOKENS,
                )
        except (OpenAIError, TimeoutError, ValueError) as error:  # ValueError: a reply that says it is JSON and is none
            raise EnhancerUnavailable(f"the endpoint failed ({type(error).__name__}); ask who runs it") from None
        return _content(completion)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def _content(completion: Any) -> str:  # noqa: ANN401
    """The client checks nothing of a reply: it may be the text of a web page, or have no choices."""
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        raise EnhancerUnavailable("the endpoint's reply is no chat completion; see that enhancer.base_url ends in /v1")
    if choices[0].message.refusal:
        raise AnswerRefused("the model declines to answer")
    if choices[0].finish_reason == "length":
        raise AnswerRefused("the answer breaks off")
    return choices[0].message.content or ""
