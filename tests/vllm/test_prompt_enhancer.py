"""vLLM itself on the CPU, in a replica of Ray Serve: answers, schema, batches, cache, an engine that dies."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import REGISTRY

pytest.importorskip("vllm")

from deployments.config import EnhancerConfig
from deployments.enhancer_call import over_handle
from deployments.prompt_enhancer import VllmEnhancerReplica
from fv_ray.prompts.enhanced import Enhanced
from tests.vllm.chat_model import CAPTION
from tests.vllm.conftest import PATIENCE_S

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3 * PATIENCE_S)]

PROMPT = "a red fox in the snow"
NUM_CONCURRENT = 32
NUM_LOOKS = 5


class WatchedReplica(VllmEnhancerReplica):
    """The replica, and a look into its engine, which is another process."""

    async def num_unfinished(self) -> int:
        """Chats that the replica waits for."""
        return self._engine.get_num_unfinished_requests()

    async def is_engine_at_work(self) -> bool:
        """Whether the engine's own scheduler holds any."""
        at_work: bool = await self._engine.engine_core.call_utility_async("has_work")
        return at_work

    async def num_written(self) -> int:
        """Chats whose answers were written to their end."""
        (metric,) = [each for each in REGISTRY.collect() if each.name == "vllm:request_success"]
        counts = [each for each in metric.samples if each.name.endswith("_total")]
        return int(sum(each.value for each in counts if each.labels["finished_reason"] != "abort"))


@pytest.fixture(scope="module")
def handle(ray_with_vllm: None, chat_model: Path, prompt_checkpoint: Path) -> Iterator[Any]:  # noqa: ARG001
    from ray import serve

    config = EnhancerConfig(kind="vllm", model=str(chat_model), kv_cache_mb=64)
    deployment = serve.deployment(WatchedReplica, name="PromptEnhancer").options(
        # More than the engine takes at once, so that it can be looked into while chats wait.
        max_ongoing_requests=8 * NUM_CONCURRENT,
        health_check_period_s=2,
        ray_actor_options={"num_cpus": 0},
    )
    yield serve.run(deployment.bind(prompt_checkpoint, config), name="enhancer", route_prefix=None)
    serve.shutdown()


def enhance(handle: Any, *prompts: str) -> list[Enhanced]:
    call = over_handle(handle, PATIENCE_S)

    async def all_at_once() -> list[Enhanced]:
        return await asyncio.gather(*(call(prompt, 7, False) for prompt in prompts))

    return asyncio.run(all_at_once())


def engine_processes() -> list[psutil.Process]:
    """Engines that this process' Ray started and that live; Linux keeps 15 characters of a name."""
    ours = psutil.Process().children(recursive=True)
    engines = [process for process in ours if process.name().startswith("VLLM::EngineCor")]
    return [process for process in engines if process.status() != psutil.STATUS_ZOMBIE]


def test_a_prompt_becomes_the_models_caption(handle: Any) -> None:
    (told,) = enhance(handle, PROMPT)
    assert told == Enhanced(
        prompt=PROMPT, enhanced_prompt=CAPTION, kind="vllm", outcome="enhanced", motion="high", notes=()
    )


def test_many_are_answered_at_once_and_the_instructions_are_read_once(handle: Any) -> None:
    before = handle.num_tokens.remote().result()
    told = enhance(handle, *[f"a red fox in the snow, take {'again ' * n}" for n in range(NUM_CONCURRENT)])
    assert {each.enhanced_prompt for each in told} == {CAPTION}
    after = handle.num_tokens.remote().result()
    assert after.cached - before.cached > 0.8 * (after.asked - before.asked)


def test_an_answer_that_loses_the_users_facts_is_refused_three_times(handle: Any) -> None:
    (told,) = enhance(handle, "two blue cars")
    assert (told.outcome, told.enhanced_prompt) == ("refused", None)
    assert [note.rpartition("say ")[2] for note in told.notes] == ["2, blue, as the description does"] * 3


def test_the_schema_holds_a_model_that_would_decline(handle: Any) -> None:
    (told,) = enhance(handle, "a sorry fox")
    assert not [note for note in told.notes if "no JSON object" in note]


def test_chats_that_their_clients_give_up_end_in_the_engine(handle: Any) -> None:
    """An engine that went on with them would be at work for a hundred steps; it is asked after a few of them."""
    call = over_handle(handle, PATIENCE_S)
    prompts = [f"{PROMPT} {'so ' * (n % 40)}" for n in range(4 * NUM_CONCURRENT)]  # most of them wait in the engine

    async def given_up() -> bool:
        asked = [asyncio.create_task(call(prompt, 7, False)) for prompt in prompts]
        while not await handle.is_engine_at_work.remote():
            await asyncio.sleep(0.01)
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        while await handle.num_unfinished.remote():
            await asyncio.sleep(0.01)
        return any([not await handle.is_engine_at_work.remote() for _ in range(NUM_LOOKS)])

    before = handle.num_written.remote().result()
    assert asyncio.run(given_up())
    after = handle.num_written.remote().result()
    assert after - before < len(prompts) / 2
    assert enhance(handle, PROMPT)[0].enhanced_prompt == CAPTION
    assert handle.num_written.remote().result() == after + 1


def test_an_engine_that_dies_is_replaced_and_its_requests_are_asked_again(handle: Any) -> None:
    assert enhance(handle, PROMPT)[0].enhanced_prompt == CAPTION  # it is up
    (engine,) = engine_processes()

    async def under_load() -> list[Enhanced]:
        call = over_handle(handle, PATIENCE_S)
        prompts = [f"{PROMPT} {'so ' * (n % 40)}" for n in range(4 * NUM_CONCURRENT)]  # most of them wait for a place
        asked = [asyncio.create_task(call(prompt, 7, False)) for prompt in prompts]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        os.kill(engine.pid, signal.SIGKILL)
        return await asyncio.gather(*asked)

    told = asyncio.run(under_load())
    assert {each.enhanced_prompt for each in told} == {CAPTION}
    (replaced,) = engine_processes()
    assert replaced.pid != engine.pid
