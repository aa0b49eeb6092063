"""Videos of enhanced prompts, by the rules themselves or by enhancers that fail on purpose."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.config import EnhancerConfig
from deployments.http.service import EnhanceCall, Service
from deployments.prompt_enhancer import OpenaiEnhancerReplica
from fv_ray.errors import EnhancerUnavailable
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.training.procedural import rules
from tests.chat_endpoint import Reply, chat_endpoint, completion
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_routes import create, error_of, preview, read
from tests.deployments.http.worker import Worker
from tests.prompt_checkpoint import make_prompt_checkpoint
from tests.prompts.test_enhancing import PROMPT, answer

SHORT = "a red ball"
PATIENCE_S = 120


async def by_rules(prompt: str, seed: int, is_forced: bool) -> Enhanced:
    return rules.enhance(prompt, seed, is_forced=is_forced)


async def away(prompt: str, seed: int, is_forced: bool) -> Enhanced:  # noqa: ARG001
    raise EnhancerUnavailable("the prompt enhancer gave no answer in 1 s; ask again")


def enhanced_service(service: Service, call: EnhanceCall = by_rules, **config: Any) -> Service:
    return replace(with_config(service, enhancer=config), enhance=call)


@pytest.fixture
def enhancing(service: Service) -> TestClient:
    return client_of(enhanced_service(service))


def caption(seed: int) -> str | None:
    return rules.enhance(SHORT, seed).enhanced_prompt


def test_both_prompts_are_told_and_the_enhanced_one_is_made(enhancing: TestClient, worker: Worker) -> None:
    video = create(enhancing, SHORT, seed=7)
    assert video["prompt"] == SHORT
    assert video["flashvideo"]["enhanced_prompt"] == caption(7)
    told = video["flashvideo"]["enhancement"]
    assert (told["outcome"], told["kind"]) == ("enhanced", "rules")
    assert told["notes"][0].startswith("chosen: ")
    assert worker.begin(video["id"]).video.request.prompt == caption(7)


def test_a_commit_has_the_previews_enhanced_prompt_word_for_word(
    enhancing: TestClient, client: TestClient, worker: Worker
) -> None:
    video = preview(enhancing, prompt=SHORT, seed=7)
    worker.make(video["id"])
    for committing in (enhancing, client):  # the same where there is no enhancer any more
        commit = committing.post(f"/v1/videos/{video['id']}/commit").json()
        assert (commit["prompt"], commit["flashvideo"]["enhanced_prompt"]) == (SHORT, caption(7))
    assert worker.begin(commit["id"], "stage_two").video.request.prompt == caption(7)
    other = enhancing.post(f"/v1/videos/{video['id']}/commit", json={"prompt": "a blue ball"}).json()
    assert (other["prompt"], other["flashvideo"]["enhanced_prompt"]) == ("a blue ball", None)


def test_a_remix_is_enhanced_unless_the_edit_is_a_caption(enhancing: TestClient) -> None:
    video = create(enhancing, SHORT, seed=7)
    remix = f"/v1/videos/{video['id']}/remix"
    short = enhancing.post(remix, json={"prompt": "a blue ball"}).json()
    assert " blue ball " in short["flashvideo"]["enhanced_prompt"]
    edited = str(caption(7)).replace("red", "blue")
    kept = enhancing.post(remix, json={"prompt": edited}).json()
    assert (kept["prompt"], kept["flashvideo"]["enhanced_prompt"]) == (edited, None)
    assert kept["flashvideo"]["enhancement"]["outcome"] == "long_enough"


def test_a_request_chooses(enhancing: TestClient, client: TestClient) -> None:
    assert create(enhancing, SHORT, flashvideo={"enhance_prompt": "never"})["flashvideo"]["enhancement"] is None
    full = str(caption(7))
    always = create(enhancing, full, flashvideo={"enhance_prompt": "always"})["flashvideo"]
    assert (always["enhanced_prompt"], always["enhancement"]["outcome"]) == (full, "enhanced")
    assert create(client, SHORT)["flashvideo"]["enhancement"] is None
    for wanted in ("auto", "always"):
        reply = client.post("/v1/videos", json={"prompt": SHORT, "flashvideo": {"enhance_prompt": wanted}})
        assert error_of(reply, 400)["param"] == "flashvideo.enhance_prompt"


def test_a_replay_is_the_first_video_though_the_enhancer_is_gone(service: Service, enhancing: TestClient) -> None:
    body, key = {"prompt": SHORT}, {"idempotency-key": "k"}  # the seed is drawn: another one each time
    first = enhancing.post("/v1/videos", json=body, headers=key).json()
    gone = client_of(enhanced_service(service, away, on_failure="fail"))
    again = gone.post("/v1/videos", json=body, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first
    error_of(gone.post("/v1/videos", json={"prompt": "another"}, headers=key), 409)


def test_without_an_answer_the_users_prompt_goes_on_and_that_is_told(service: Service) -> None:
    client = client_of(enhanced_service(service, away))
    video = create(client, SHORT)
    assert (video["prompt"], video["flashvideo"]["enhanced_prompt"]) == (SHORT, None)
    assert video["flashvideo"]["enhancement"]["outcome"] == "unavailable"
    assert "no answer in 1 s" in video["flashvideo"]["enhancement"]["notes"][0]
    assert read(client, video)["flashvideo"]["enhancement"] == video["flashvideo"]["enhancement"]


def test_without_an_answer_the_request_fails_where_that_is_configured(service: Service) -> None:
    client = client_of(enhanced_service(service, away, on_failure="fail"))
    reply = client.post("/v1/videos", json={"prompt": SHORT})
    assert error_of(reply, 503)["code"] == "enhancer_unavailable"
    assert int(reply.headers["retry-after"]) > 0
    assert client.get("/v1/videos").json()["data"] == []


@pytest.mark.parametrize("on_failure", ["continue", "fail"])
def test_a_silent_endpoint_is_left_within_the_limit_and_that_is_told(
    service: Service, tmp_path: Path, on_failure: str
) -> None:
    """The endpoint says nothing until the request has ended, and so the request did not wait for it."""
    let_go = threading.Event()

    def silent(_: dict[str, Any]) -> Reply:
        let_go.wait(PATIENCE_S)
        return completion(answer())

    checkpoint = make_prompt_checkpoint(tmp_path / "prompt")
    with chat_endpoint(silent) as endpoint:
        config = {"kind": "openai", "base_url": endpoint.url, "model": "tiny", "on_failure": on_failure}
        replica = OpenaiEnhancerReplica(checkpoint, EnhancerConfig.model_validate(config | {"timeout_s": 0.2}))

        async def by_endpoint(prompt: str, seed: int, is_forced: bool) -> Enhanced:
            return await replica.enhance(prompt, seed, is_forced=is_forced)

        client = client_of(enhanced_service(service, by_endpoint, **config))
        reply = client.post("/v1/videos", json={"prompt": PROMPT})
        let_go.set()
        videos = client.get("/v1/videos").json()["data"]
    if on_failure == "fail":
        assert error_of(reply, 503)["code"] == "enhancer_unavailable"
        assert videos == []
        return
    (video,) = videos
    assert (video["prompt"], video["flashvideo"]["enhanced_prompt"]) == (PROMPT, None)
    told = video["flashvideo"]["enhancement"]
    assert (told["kind"], told["outcome"]) == ("openai", "unavailable")
    assert "Timeout" in told["notes"][0]


def test_what_cannot_be_made_is_refused_before_anybody_is_asked(service: Service) -> None:
    client = client_of(enhanced_service(service, away, on_failure="fail"))
    assert error_of(client.post("/v1/videos", json={"prompt": SHORT, "size": "17x17"}), 400)["param"] == "size"
