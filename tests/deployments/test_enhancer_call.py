"""The enhancer behind Ray Serve: answers, none in time, and a replica that dies with requests at hand."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from deployments.config import EnhancerConfig
from deployments.enhancer_call import over_handle
from deployments.prompt_enhancer import OpenaiEnhancerReplica
from fv_ray.errors import EnhancerUnavailable
from fv_ray.prompts.enhanced import Enhanced
from tests.chat_endpoint import ERROR, ChatEndpoint, Reply, chat_endpoint, completion
from tests.prompt_checkpoint import make_prompt_checkpoint
from tests.prompts.test_enhancing import CAPTION, PROMPT, answer

pytestmark = pytest.mark.ray
PATIENCE_S = 120


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ChatEndpoint]:
    with chat_endpoint(lambda _: completion(answer())) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def handle(serve_local: str, endpoint: ChatEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:  # noqa: ARG001
    from ray import serve

    checkpoint = make_prompt_checkpoint(tmp_path_factory.mktemp("prompt") / "checkpoint")
    config = EnhancerConfig(kind="openai", base_url=endpoint.url, model="tiny", timeout_s=PATIENCE_S)
    deployment = serve.deployment(OpenaiEnhancerReplica, name="PromptEnhancer").options(
        max_ongoing_requests=8, health_check_period_s=1, ray_actor_options={"num_cpus": 0}
    )
    yield serve.run(deployment.bind(checkpoint, config), name=f"enhancer{os.getpid()}", route_prefix=None)
    serve.delete(f"enhancer{os.getpid()}")


def enhance(handle: Any, timeout_s: float = PATIENCE_S) -> Enhanced:
    return asyncio.run(over_handle(handle, timeout_s)(PROMPT, 7, False))


def test_an_answer_comes_through(handle: Any) -> None:
    assert enhance(handle).enhanced_prompt == CAPTION


def test_what_the_replica_could_not_get_is_unavailable(handle: Any, endpoint: ChatEndpoint) -> None:
    good, endpoint.answer = endpoint.answer, lambda _: ERROR
    with pytest.raises(EnhancerUnavailable, match="the endpoint failed"):
        enhance(handle)
    endpoint.answer = good
    assert enhance(handle).outcome == "enhanced"


def test_no_answer_in_time_is_unavailable(handle: Any, endpoint: ChatEndpoint) -> None:
    let_go = threading.Event()

    def slow(_: dict[str, Any]) -> Reply:
        let_go.wait(PATIENCE_S)
        return completion(answer())

    good, endpoint.answer = endpoint.answer, slow
    with pytest.raises(EnhancerUnavailable, match=r"no answer in 0\.5 s"):
        enhance(handle, timeout_s=0.5)
    endpoint.answer = good
    let_go.set()
    assert enhance(handle).outcome == "enhanced"


def test_a_request_whose_replica_dies_is_asked_again(handle: Any, endpoint: ChatEndpoint) -> None:
    def kill(_: dict[str, Any]) -> Reply:
        endpoint.answer = good
        (replica,) = [
            each for each in psutil.process_iter() if f"ServeReplica:{handle.app_name}:PromptEnhancer" in _title(each)
        ]
        os.kill(replica.pid, signal.SIGKILL)
        return completion(answer())

    good, endpoint.answer = endpoint.answer, kill
    assert enhance(handle).enhanced_prompt == CAPTION


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
