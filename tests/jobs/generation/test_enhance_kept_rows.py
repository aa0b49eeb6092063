"""Rows with enhanced prompts, by rules and by a real endpoint that fails, declines or answers otherwise each time."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deployments.config import EnhancerConfig
from deployments.prompt_enhancer import RulesEnhancerReplica
from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import EnhancerUnavailable, StorageError
from fv_ray.work_key import stage_one_work_key
from jobs.enhance_rows import Enhancer
from jobs.generation import enhance_kept_rows as module
from jobs.generation.check_rows import Asking, Row, check_rows
from jobs.generation.enhance_kept_rows import enhance_kept_rows
from jobs.generation.keep_rows import KeptRows, keep_rows
from jobs.generation.read_lines import RawRow
from tests.chat_endpoint import ERROR, ChatEndpoint, Reply, chat_endpoint, completion
from tests.prompt_checkpoint import make_prompt_checkpoint
from tests.prompts.test_enhancing import CAPTION, PROMPT, answer


@pytest.fixture(scope="module")
def prompt_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prompt_checkpoint(tmp_path_factory.mktemp("prompt") / "checkpoint")


@pytest.fixture
def endpoint() -> Iterator[ChatEndpoint]:
    with chat_endpoint(lambda _: completion(answer())) as endpoint:
        yield endpoint


def asked_for(checkpoint: Path, folder: Path, *rows: Mapping[str, object]) -> KeptRows:
    raw = (RawRow(f"t:{number}", fields) for number, fields in enumerate(rows))
    return keep_rows(check_rows(raw, Asking(), CheckpointInfo.read(checkpoint)), folder / uuid4().hex)


def enhanced(rows: KeptRows, enhancer: Enhancer, blobs: Blobs, folder: Path) -> list[Row]:
    digest = CheckpointInfo.read(enhancer.checkpoint).digest
    found = enhance_kept_rows(rows, enhancer, blobs, digest, Asking(), folder / uuid4().hex)
    assert (found.sha256, found.num_rows) == (rows.sha256, rows.num_rows)
    return list(found)


def by_endpoint(checkpoint: Path, endpoint: ChatEndpoint) -> Enhancer:
    return Enhancer("openai", str(checkpoint), base_url=endpoint.url, model="tiny")


def test_a_row_has_the_prompt_and_the_keys_that_a_request_to_the_service_has(
    fresh_checkpoint: Path, tmp_path: Path
) -> None:
    full = "a large striped red ball rises on a dark background"
    rows = asked_for(fresh_checkpoint, tmp_path, {"prompt": "a red ball", "seed": 3}, {"prompt": full}, {"prompt": ""})
    blobs = open_blobs(str(tmp_path / "run"))
    ball, whole, bad = enhanced(rows, Enhancer("rules", str(fresh_checkpoint)), blobs, tmp_path)
    replica = RulesEnhancerReplica(fresh_checkpoint, EnhancerConfig(kind="rules"))
    told = asyncio.run(replica.enhance("a red ball", 3))
    assert ball.enhancement == told
    assert ball.request is not None
    assert ball.request.prompt == told.enhanced_prompt != "a red ball"
    assert ball.preview_key == stage_one_work_key(ball.request, CheckpointInfo.read(fresh_checkpoint).digest)
    before = list(rows)
    assert ball.key != before[0].key
    assert (whole.request, whole.key) == (before[1].request, before[1].key)
    assert whole.enhancement is not None
    assert whole.enhancement.outcome == "long_enough"
    assert bad == before[2]


def test_what_is_kept_is_never_asked_for_again(
    place: str, prompt_checkpoint: Path, endpoint: ChatEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that ask for the same are one; a third of the way the endpoint fails, and later it answers otherwise."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 4)
    prompts = [f"{PROMPT}, take {'again ' * n}" for n in range(6)]
    fields = [{"prompt": prompt, "seed": 1} for prompt in prompts for _ in range(2)]
    rows, blobs = asked_for(prompt_checkpoint, tmp_path, *fields), open_blobs(place)
    enhancer, other = by_endpoint(prompt_checkpoint, endpoint), CAPTION.replace("snow", "sand")
    num_asked = itertools.count()
    endpoint.answer = lambda _: completion(answer()) if next(num_asked) < 2 else ERROR
    with pytest.raises(EnhancerUnavailable):
        enhanced(rows, enhancer, blobs, tmp_path)
    assert len(blobs.files("enhanced")) == 2
    endpoint.asked.clear()
    endpoint.answer = lambda _: completion(answer(caption=other))
    found = enhanced(rows, enhancer, blobs, tmp_path)
    assert len(endpoint.asked) == 4
    assert [row.request and row.request.prompt for row in found] == [CAPTION] * 4 + [other] * 8
    endpoint.answer = lambda _: ERROR
    assert enhanced(rows, enhancer, blobs, tmp_path) == found


def test_of_two_launches_at_once_both_have_the_words_of_one(
    place: str, prompt_checkpoint: Path, endpoint: ChatEndpoint, tmp_path: Path
) -> None:
    rows = asked_for(prompt_checkpoint, tmp_path, *({"prompt": f"{PROMPT} {'so ' * n}"} for n in range(4)))
    words = itertools.cycle(["snow", "sand"])
    endpoint.answer = lambda _: completion(answer(caption=CAPTION.replace("snow", next(words))))
    enhancer = by_endpoint(prompt_checkpoint, endpoint)

    def launch(_: int) -> list[Row]:
        return enhanced(rows, enhancer, open_blobs(place), tmp_path)

    with ThreadPoolExecutor(3) as pool:
        first, second, third = pool.map(launch, range(3))
    assert first == second == third == launch(4)


def test_a_prompt_that_nobody_could_enhance_goes_on_and_says_so(
    prompt_checkpoint: Path, endpoint: ChatEndpoint, tmp_path: Path
) -> None:
    def declines(_: dict[str, Any]) -> Reply:
        return completion("no")

    endpoint.answer = declines
    rows, blobs = asked_for(prompt_checkpoint, tmp_path, {"prompt": "a cat"}), open_blobs(str(tmp_path / "run"))
    (row,) = enhanced(rows, by_endpoint(prompt_checkpoint, endpoint), blobs, tmp_path)
    assert row.request is not None
    assert row.enhancement is not None
    assert (row.request.prompt, row.enhancement.outcome, len(row.enhancement.notes)) == ("a cat", "refused", 3)


def test_a_damaged_file_is_named(fresh_checkpoint: Path, tmp_path: Path) -> None:
    rows, blobs = asked_for(fresh_checkpoint, tmp_path, {"prompt": "a red ball"}), open_blobs(str(tmp_path / "run"))
    enhancer = Enhancer("rules", str(fresh_checkpoint))
    enhanced(rows, enhancer, blobs, tmp_path)
    (path,) = blobs.files("enhanced")
    (tmp_path / "run" / path).write_text("{")
    with pytest.raises(StorageError, match=f"{path} is not understood .* remove it"):
        enhanced(rows, enhancer, blobs, tmp_path)
