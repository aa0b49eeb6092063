"""Rows with enhanced prompts, by rules and by a real endpoint that fails, declines or answers otherwise each time."""

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deployments.config import EnhancerConfig, StageConfig
from deployments.prompt_enhancer import RulesEnhancerReplica
from deployments.stage_one import StageOneReplica
from deployments.stage_work import StageWork
from fv_ray.artifact_store import ArtifactStore
from fv_ray.blobs import Blobs, open_blobs
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import EnhancerUnavailable, InputError, StorageError
from fv_ray.types import with_prompt
from fv_ray.work_key import stage_one_work_key
from jobs.enhance_rows import Enhancer
from jobs.generation import enhance_kept_rows as module
from jobs.generation.check_rows import Asking, Row, check_rows
from jobs.generation.drive_launch import RESUMABLE
from jobs.generation.enhance_kept_rows import enhance_kept_rows
from jobs.generation.keep_rows import KeptRows, keep_rows
from jobs.generation.read_lines import RawRow
from tests.chat_endpoint import ERROR, ChatEndpoint, Reply, chat_endpoint, completion
from tests.jobs.test_generate import contents, manifest, run, served, write_table
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


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::fv_ray.errors.UnknownWords")  # of the replica's warm-up
def test_enhanced_rows_are_what_the_service_makes_of_the_same_prompts_in_every_launch(
    fresh_checkpoint: Path, tmp_path: Path
) -> None:
    previews, videos = tmp_path / "previews", tmp_path / "videos"
    ball: dict[str, Any] = {"id": "ball", "prompt": "a red ball", "seed": 7}
    rows = [
        ball,
        {**ball, "id": "again"},
        {"id": "full", "prompt": "a large striped red ball rises on a dark background"},
    ]
    sizes = {"stage_one": {"num_inference_steps": 1, "num_frames": 5}, "stage_two": {"num_inference_steps": 1}}
    pairs = [f"{stage}.{name}={value}" for stage, told in sizes.items() for name, value in told.items()]
    options: dict[str, Any] = {"changes": pairs, "preview_only": True, "enhance": True}
    table = write_table(tmp_path / "prompts.jsonl", *rows)
    assert run(fresh_checkpoint, previews, source=table, **options) == 0
    replica = RulesEnhancerReplica(fresh_checkpoint, EnhancerConfig(kind="rules"))
    caption = asyncio.run(replica.enhance("a red ball", 7)).enhanced_prompt
    first, again, full = manifest(previews)
    assert (first["prompt"], first["enhanced_prompt"], again["same_as_row"]) == ("a red ball", caption, 0)
    assert (full["prompt"], full["enhanced_prompt"]) == (rows[2]["prompt"], None)
    assert json.loads(full["enhancement"])["outcome"] == "long_enough"
    assert len(list(previews.glob("enhanced/*/*.json"))) == 2

    asked = CheckpointInfo.read(fresh_checkpoint).request("a red ball", seed=7, **sizes)
    one = StageOneReplica(fresh_checkpoint, str(tmp_path / "service"), StageConfig())
    work = StageWork(video_id="a", stage="stage_one", request=with_prompt(asked, str(caption)), salt="")
    found = ArtifactStore.open(str(previews)).find(first["preview_work_key"])
    assert found is not None
    assert contents(served(one, work)) == contents(found)

    select = write_table(tmp_path / "chosen.jsonl", {"id": "again"})
    commit: dict[str, Any] = {"from_previews": str(previews), "select": select}
    assert run(fresh_checkpoint, videos, **commit) == 0
    (video,) = manifest(videos)
    assert [video[name] for name in ("prompt", "enhanced_prompt", "enhancement")] == [
        first[name] for name in ("prompt", "enhanced_prompt", "enhancement")
    ]
    assert json.loads(video["request"])["prompt"] == caption

    more = write_table(tmp_path / "more.jsonl", *rows, {"id": "star", "prompt": "a star"})
    assert run(fresh_checkpoint, previews, source=more, extend=True, **options) == 0
    assert manifest(previews, 2)[:3] == manifest(previews)
    assert manifest(previews, 2)[3]["enhanced_prompt"]
    for changes, match in (({"enhance": False}, "enhancer is .* there and None here"), ({"always": True}, "is_forced")):
        with pytest.raises(StorageError, match=match):
            run(fresh_checkpoint, previews, source=more, **{**options, **changes})
    with pytest.raises(InputError, match="leave --enhance out"):
        run(fresh_checkpoint, videos, enhance=True, **commit)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(900)
def test_an_endpoint_that_is_away_or_a_signal_ends_the_launch_and_the_next_goes_on(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    """Nothing is made of a prompt that the model was not asked about."""
    table, output = write_table(tmp_path / "a.jsonl", {"prompt": "a fox"}), tmp_path / "out"
    with chat_endpoint(lambda _: ERROR) as endpoint:
        enhancer = ["kind=openai", "model=tiny", f"base_url={endpoint.url}", "timeout_s=20"]
        options: dict[str, Any] = {"source": table, "preview_only": True, "enhance": True, "enhancer": enhancer}
        assert run(small_checkpoint, output, **options) == RESUMABLE
        endpoint.answer = lambda _: os.kill(os.getpid(), signal.SIGTERM)
        assert run(small_checkpoint, output, **options) == RESUMABLE
        assert not list(output.glob("w/*/*"))
        caption = "A red fox trots over a field of snow."
        endpoint.answer = lambda _: completion(answer(caption=caption))
        assert run(small_checkpoint, output, **options) == 0
        assert [row["enhanced_prompt"] for row in manifest(output)] == [caption]
        other = [*enhancer[:1], "model=other", *enhancer[2:]]
        with pytest.raises(StorageError, match="enhancer.model is 'tiny' there and 'other' here"):
            run(small_checkpoint, output, **{**options, "enhancer": other})
