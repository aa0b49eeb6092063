"""Prompts to enhanced prompts, in the order in which they are finished: by rules, an endpoint or vLLM."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fv_ray.errors import InputError
from fv_ray.prompts import enhancing
from fv_ray.prompts.endpoint import Endpoint
from fv_ray.prompts.engine import require_chat_model
from fv_ray.prompts.enhanced import Enhanced, EnhancerKind
from fv_ray.prompts.window import PromptWindow
from fv_ray.training.procedural import rules

NUM_CONCURRENT = 32
"""Requests to an endpoint."""


@dataclass(frozen=True)
class PromptRow:
    """A row of the table."""

    number: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class Enhancer:
    """Who rewrites, and how."""

    kind: EnhancerKind
    checkpoint: str
    is_forced: bool = False
    model: str | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 60
    num_gpus: float = 0
    num_engines: int = 1
    max_model_len: int = 4096
    quantization: str | None = None
    kv_cache_mb: int | None = None

    def __post_init__(self) -> None:
        needed = {"rules": (), "openai": ("base_url", "model"), "vllm": ("model",)}[self.kind]
        for name in ("base_url", "model"):
            if (getattr(self, name) is not None) != (name in needed):
                raise InputError(
                    f"{name} is {getattr(self, name)!r} and the kind of enhancer is {self.kind}, which needs "
                    f"{' and '.join(needed) or 'neither base_url nor model'}: give the kind that you mean"
                )

    def told(self) -> dict[str, Any]:
        """What decides the captions, as JSON allows."""
        names = ("kind", "is_forced", "model", "base_url", "quantization")
        return {name: value for name, value in asdict(self).items() if name in names}


def require_enhancer(enhancer: Enhancer) -> None:
    """Refuse what could not rewrite anything, before anything is written. Raises: CheckpointError."""
    if enhancer.kind == "rules":
        rules.require_known_words(enhancer.checkpoint)
    else:
        PromptWindow.read(enhancer.checkpoint)
    if enhancer.kind == "vllm":
        require_chat_model(str(enhancer.model))


def enhance_rows(rows: Sequence[PromptRow], enhancer: Enhancer) -> Iterator[tuple[int, Enhanced]]:
    """Each row's number and what became of its prompt.

    Raises:
        EnhancerUnavailable: the endpoint does not answer.
        StorageError: Ray gave up.
    """
    if enhancer.kind == "rules":
        return ((row.number, rules.enhance(row.prompt, row.seed, is_forced=enhancer.is_forced)) for row in rows)
    window = PromptWindow.read(enhancer.checkpoint)
    if enhancer.kind == "openai":
        return _by_endpoint(rows, enhancer, window)
    from jobs.enhance_with_vllm import enhance_with_vllm

    return enhance_with_vllm(rows, enhancer, window)


def _by_endpoint(rows: Sequence[PromptRow], enhancer: Enhancer, window: PromptWindow) -> Iterator[tuple[int, Enhanced]]:
    assert enhancer.base_url is not None
    assert enhancer.model is not None
    with asyncio.Runner() as runner:
        endpoint = Endpoint(
            enhancer.base_url, enhancer.model, api_key_env=enhancer.api_key_env, timeout_s=enhancer.timeout_s
        )
        try:
            for first in range(0, len(rows), NUM_CONCURRENT):
                some = rows[first : first + NUM_CONCURRENT]
                told = runner.run(_together(some, enhancer, window, endpoint))
                yield from zip((row.number for row in some), told, strict=True)
        finally:
            runner.run(endpoint.close())


async def _together(
    rows: Sequence[PromptRow], enhancer: Enhancer, window: PromptWindow, endpoint: Endpoint
) -> list[Enhanced]:
    asking = (
        enhancing.enhance(row.prompt, row.seed, endpoint.ask, window, kind="openai", is_forced=enhancer.is_forced)
        for row in rows
    )
    return await asyncio.gather(*asking)
