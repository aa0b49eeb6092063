"""Prompts to enhanced prompts on `ray.data.llm`: a pass over all of them, then over those refused, three at most."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import ray.data

from fv_ray.errors import InputError
from fv_ray.prompts.answer import AnswerRefused, clean
from fv_ray.prompts.engine import engine_arguments, sampling_arguments, structured_outputs
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.prompts.enhancing import MAX_TRIES, accepted, refused_answers, unchanged
from fv_ray.prompts.messages import Message, asked_again, messages_for
from fv_ray.prompts.window import PromptWindow
from jobs.connect_ray import connected
from jobs.enhance_rows import Enhancer, PromptRow

BATCH_SIZE = 64
"""Rows that an engine is given at a time."""


def enhance_with_vllm(
    rows: Sequence[PromptRow], enhancer: Enhancer, window: PromptWindow
) -> Iterator[tuple[int, Enhanced]]:
    """As `enhance_rows`."""
    chats: dict[int, list[Message]] = {}
    for row in rows:
        as_it_is = unchanged(row.prompt, window, kind="vllm", is_forced=enhancer.is_forced)
        if as_it_is is not None:
            yield row.number, as_it_is
        else:
            chats[row.number] = messages_for(clean(row.prompt), window.max_tokens)
    asked, reasons = {row.number: row for row in rows}, {number: list[str]() for number in chats}
    for _ in range(MAX_TRIES if chats else 0):
        again: dict[int, list[Message]] = {}
        for number, answer in _answers([asked[number] for number in chats], chats, enhancer):
            try:
                yield number, accepted(asked[number].prompt, answer, window, kind="vllm")
            except AnswerRefused as refused:
                reasons[number].append(str(refused))
                again[number] = asked_again(chats[number], answer[:4000], str(refused))
        if not (chats := again):
            return
    for number in chats:
        yield number, refused_answers(asked[number].prompt, reasons[number], kind="vllm")


def _answers(
    rows: Sequence[PromptRow], chats: dict[int, list[Message]], enhancer: Enhancer
) -> Iterator[tuple[int, str]]:
    build_processor, config_class = _ray_data_llm()
    arguments = engine_arguments(
        num_gpus=enhancer.num_gpus,
        max_model_len=enhancer.max_model_len,
        quantization=enhancer.quantization,
        kv_cache_mb=enhancer.kv_cache_mb,
    )
    config = config_class(
        model_source=str(enhancer.model),
        engine_kwargs=arguments,
        concurrency=enhancer.num_engines,
        batch_size=BATCH_SIZE,
        # By default it asks for a whole GPU, and waits for ever where there is none.
        placement_group_config={"bundles": [_bundle(enhancer.num_gpus)] * arguments.get("tensor_parallel_size", 1)},
        tokenize_stage=False,  # the engine's own work
        detokenize_stage=False,
    )
    table = [
        {"number": row.number, "chat": json.dumps(chats[row.number]), "sampling": _sampling(row.seed)} for row in rows
    ]
    with connected():
        processor = build_processor(
            config,
            preprocess=_question,
            postprocess=_answer,
            builder_kwargs={"chat_template_kwargs": {"enable_thinking": False}},
        )
        for row in processor(ray.data.from_items(table)).iter_rows():
            yield row["number"], row["answer"]


def _bundle(num_gpus: float) -> dict[str, float]:
    return {"GPU": min(num_gpus, 1.0)} if num_gpus else {"CPU": 1}


def _sampling(seed: int) -> str:
    """As text: Arrow would give every object of the schema the fields of all others."""
    schema = json.dumps(structured_outputs()["json"])
    return json.dumps({**sampling_arguments(seed), "structured_outputs": {"json": schema}})


def _question(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": row["number"],
        "messages": json.loads(row["chat"]),
        "sampling_params": json.loads(row["sampling"]),
    }


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    return {"number": row["number"], "answer": row["generated_text"]}


def _ray_data_llm() -> tuple[Any, Any]:
    try:
        import vllm  # noqa: F401  # ray.data.llm finds out in its actors
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig
    except ImportError as error:
        raise InputError(
            f"vLLM cannot be imported ({error}); --kind vllm runs it on the cluster: pip install 'fv-ray[jobs,vllm]'"
        ) from error
    return build_processor, vLLMEngineProcessorConfig
