"""The replicas that need no vLLM; the one that does is tested in tests/vllm."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from deployments.config import EnhancerConfig
from deployments.prompt_enhancer import REPLICAS, OpenaiEnhancerReplica, RulesEnhancerReplica
from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.errors import CheckpointError, EnhancerUnavailable
from fv_ray.training.procedural import rules
from tests.chat_endpoint import ERROR, HTML, Reply, chat_endpoint, completion
from tests.prompt_checkpoint import make_prompt_checkpoint
from tests.prompts.test_enhancing import CAPTION, PROMPT, answer


@pytest.fixture(scope="module")
def prompt_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prompt_checkpoint(tmp_path_factory.mktemp("prompt") / "checkpoint")


def test_rules_answer_for_the_world_that_they_know(prompt_checkpoint: Path) -> None:
    config = EnhancerConfig()
    replica = RulesEnhancerReplica(DEFAULT_MODEL, config)
    assert asyncio.run(replica.enhance("a red ball", 7)) == rules.enhance("a red ball", 7)
    with pytest.raises(CheckpointError, match="openai or vllm"):
        RulesEnhancerReplica(prompt_checkpoint, config)


@pytest.mark.parametrize(
    ("replies", "outcome", "num_asked"),
    [
        ([completion(answer())], "enhanced", 1),
        ([completion("no"), completion(answer())], "enhanced", 2),
        ([completion("no")] * 3, "refused", 3),
        ([ERROR, completion(answer())], "enhanced", 2),
        ([ERROR] * 2, None, 2),
        ([HTML], None, 1),
    ],
    ids=["good", "second answer", "three bad ones", "fails once", "fails", "html"],
)
def test_an_endpoint_answers_or_is_unavailable(
    prompt_checkpoint: Path, replies: list[Reply], outcome: str | None, num_asked: int
) -> None:
    left = list(replies)
    with chat_endpoint(lambda _: left.pop(0)) as endpoint:
        config = EnhancerConfig(kind="openai", base_url=endpoint.url, model="tiny", timeout_s=120)
        replica = OpenaiEnhancerReplica(prompt_checkpoint, config)
        if outcome is None:
            with pytest.raises(EnhancerUnavailable):
                asyncio.run(replica.enhance(PROMPT, 7))
        else:
            told = asyncio.run(replica.enhance(PROMPT, 7))
            assert (told.outcome, told.enhanced_prompt) == (outcome, CAPTION if outcome == "enhanced" else None)
    assert len(endpoint.asked) == num_asked


@pytest.mark.parametrize("kind", REPLICAS)
def test_a_replica_imports_its_class(kind: Any) -> None:
    """A class that is sent as a copy carries copies of its module's globals."""
    assert len(cloudpickle.dumps(REPLICAS[kind])) < 200
