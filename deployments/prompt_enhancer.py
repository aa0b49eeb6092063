"""The prompt enhancer's replicas: a prompt to an enhanced one, by rules, an endpoint or vLLM. One contract for all."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from deployments.config import EnhancerConfig
from fv_ray.errors import EnhancerUnavailable, InputError
from fv_ray.prompts import enhancing
from fv_ray.prompts.answer import AnswerRefused
from fv_ray.prompts.endpoint import Endpoint
from fv_ray.prompts.engine import engine_arguments, require_chat_model, sampling_arguments, structured_outputs
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.prompts.messages import Message
from fv_ray.prompts.window import PromptWindow
from fv_ray.training.procedural import rules

logger = logging.getLogger(f"ray.serve.{__name__}")


class TokenCounts(NamedTuple):
    """Tokens of chats."""

    asked: int
    cached: int
    """Of them, what the engine had read before."""


class RulesEnhancerReplica:
    """Without a language model, for checkpoints of the procedural world."""

    def __init__(self, checkpoint: Path, _config: EnhancerConfig) -> None:
        rules.require_known_words(checkpoint)

    async def enhance(self, prompt: str, seed: int, *, is_forced: bool = False) -> Enhanced:
        """The prompt and what became of it."""
        return rules.enhance(prompt, seed, is_forced=is_forced)


class OpenaiEnhancerReplica:
    """Asks an endpoint that speaks OpenAI's protocol."""

    def __init__(self, checkpoint: Path, config: EnhancerConfig) -> None:
        assert config.base_url is not None  # the configuration's own check
        assert config.model is not None
        self._window = PromptWindow.read(checkpoint)
        self._endpoint = Endpoint(
            config.base_url, config.model, api_key_env=config.api_key_env, timeout_s=config.timeout_s
        )

    async def enhance(self, prompt: str, seed: int, *, is_forced: bool = False) -> Enhanced:
        """The prompt and what became of it. Raises: EnhancerUnavailable."""
        ask = self._endpoint.ask
        return await enhancing.enhance(prompt, seed, ask, self._window, kind="openai", is_forced=is_forced)


class VllmEnhancerReplica:
    """Holds a language model in vLLM's engine; ready when it is loaded and its prefix cache holds the instructions."""

    async def __init__(self, checkpoint: Path, config: EnhancerConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        assert config.model is not None  # the configuration's own check
        require_chat_model(config.model)
        os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        try:
            from transformers import AutoTokenizer
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise InputError(
                f"vLLM cannot be imported ({error}); enhancer.kind=vllm runs it in the replica: "
                "pip install 'fv-ray[vllm]' on the nodes"
            ) from error
        self._window = PromptWindow.read(checkpoint)
        self._tokenizer = AutoTokenizer.from_pretrained(config.model, local_files_only=True)
        arguments = engine_arguments(
            num_gpus=config.num_gpus,
            max_model_len=config.max_model_len,
            quantization=config.quantization,
            kv_cache_mb=config.kv_cache_mb,
        )
        self._engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=config.model, max_num_seqs=config.max_ongoing_requests, **arguments)
        )
        self._num_tokens = TokenCounts(0, 0)
        await enhancing.enhance("a warm-up", 0, self._ask, self._window, kind="vllm")

    async def enhance(self, prompt: str, seed: int, *, is_forced: bool = False) -> Enhanced:
        """The prompt and what became of it. Cancelling it ends its work in the engine. Raises: EnhancerUnavailable."""
        return await enhancing.enhance(prompt, seed, self._ask, self._window, kind="vllm", is_forced=is_forced)

    async def num_tokens(self) -> TokenCounts:
        """Of all chats so far."""
        return self._num_tokens

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        await self._engine.check_health()

    def __del__(self) -> None:
        """Called by Serve before it stops the replica."""
        if engine := getattr(self, "_engine", None):
            engine.shutdown()

    async def _ask(self, messages: Sequence[Message], seed: int) -> str:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError

        text = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        ids = self._tokenizer(text, add_special_tokens=False).input_ids
        sampling = SamplingParams(
            **sampling_arguments(seed), structured_outputs=StructuredOutputsParams(**structured_outputs())
        )
        last = None
        try:
            async for told in self._engine.generate({"prompt_token_ids": ids}, sampling, uuid4().hex):
                last = told
        except EngineDeadError:
            # Every request here has lost its engine; Serve starts another replica at once, and they are asked again.
            logger.exception("the engine has died, and this replica ends with it")
            os._exit(1)
        except ValueError as error:
            raise AnswerRefused(f"the engine refuses the chat ({error})") from None
        if last is None:
            raise EnhancerUnavailable("the engine gave no answer; ask again")
        before = self._num_tokens
        self._num_tokens = TokenCounts(before.asked + len(ids), before.cached + (last.num_cached_tokens or 0))
        if last.outputs[0].finish_reason == "length":
            raise AnswerRefused("the answer breaks off")
        return last.outputs[0].text


REPLICAS = {"rules": RulesEnhancerReplica, "openai": OpenaiEnhancerReplica, "vllm": VllmEnhancerReplica}
"""By kind."""
