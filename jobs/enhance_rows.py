"""Prompts to enhanced prompts, in the order in which they are finished: by rules, an endpoint or vLLM."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from fv_ray.checkpoint import shortened
from fv_ray.errors import InputError
from fv_ray.prompts import enhancing
from fv_ray.prompts.endpoint import Endpoint
from fv_ray.prompts.engine import model_digest, require_chat_model
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
    timeout_s: Annotated[float, Field(ge=0.1)] = 60
    num_gpus: Annotated[float, Field(ge=0)] = 0
    num_engines: Annotated[int, Field(ge=1)] = 1
    max_model_len: Annotated[int, Field(ge=512)] = 4096
    quantization: str | None = None
    kv_cache_mb: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        needed = {"rules": (), "openai": ("base_url", "model"), "vllm": ("model",)}[self.kind]
        for name in ("base_url", "model"):
            if (getattr(self, name) is not None) != (name in needed):
                raise InputError(
                    f"{name} is {getattr(self, name)!r} and the kind of enhancer is {self.kind}, which needs "
                    f"{' and '.join(needed) or 'neither base_url nor model'}: give the kind that you mean"
                )

    def told(self) -> dict[str, Any]:
        """What decides the captions, as JSON allows, of one that `require_enhancer` takes."""
        names = ("kind", "is_forced", "model", "base_url", "quantization")
        told = {name: value for name, value in asdict(self).items() if name in names}
        if self.kind == "rules":
            return told | {"rules_version": rules.RULES_VERSION}
        told["instructions"] = enhancing.instructions_digest()
        if self.kind == "vllm":  # whose folder may lie elsewhere in the next launch
            told |= {"model": Path(str(self.model)).resolve().name, "model_digest": model_digest(str(self.model))}
        return told


def read_enhancer(option: str, pairs: Mapping[str, str], *, checkpoint: str, is_forced: bool) -> Enhancer:
    """Who rewrites, of the names and values that a person wrote; by rules, where nothing is said.

    Args:
        option: what the pairs were given with, for messages.
        pairs: fields of `Enhancer` but those below.
        checkpoint: that the prompts are for.
        is_forced: also where a prompt is long enough.

    Raises:
        InputError: there is no such field, or it cannot have that value.
    """
    types = get_type_hints(Enhancer, include_extras=True)
    allowed = [field.name for field in fields(Enhancer) if field.name not in ("checkpoint", "is_forced")]
    values: dict[str, Any] = {"kind": "rules"}
    for name, text in pairs.items():
        if name not in allowed:
            told = f"{option} has a name {shortened(name)}; allowed are {', '.join(allowed)}"
            raise InputError(f"{told}: give one of them")
        try:
            values[name] = TypeAdapter(types[name]).validate_python(text)
        except ValidationError as error:
            told = error.errors()[0]["msg"]
            raise InputError(f"{option} {name} is {shortened(text)}: {told}; write {option} {name}=VALUE") from None
    return Enhancer(checkpoint=checkpoint, is_forced=is_forced, **values)


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
        RayGaveUp: with vLLM, Ray cannot be reached or cannot go on.
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
