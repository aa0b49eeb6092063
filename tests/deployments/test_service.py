"""The official client, unmodified, against the real application: HTTP, queue, replicas and store."""

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import av
import httpx2
import openai
import pytest
from openai.types import Video
from PIL import Image

from deployments.config import EnhancerConfig, StageConfig
from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.results import make_preview, make_video
from fv_ray.sidecar import Sidecar
from fv_ray.text_to_video import TextToVideo
from fv_ray.training.procedural import rules
from fv_ray.video_io import Encoding
from tests.deployments.service import App, running_app

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")]

PREVIEW = "flashvideo-preview"


@pytest.fixture
def official(app: App) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{app.url}/v1", api_key="none is needed") as client:
        yield client


def extras(video: Video) -> dict[str, Any]:
    assert video.model_extra is not None
    found: dict[str, Any] = video.model_extra["flashvideo"]
    return found


def download(official: openai.OpenAI, video: Video, variant: str) -> bytes:
    return official.videos.download_content(video.id, variant=variant).read()  # type: ignore[arg-type]


def test_a_commit_is_the_bits_of_a_video_in_one_go(
    app: App, official: openai.OpenAI, small_checkpoint: Path, tmp_path: Path
) -> None:
    preview = official.videos.create_and_poll(prompt="a red fox", model=PREVIEW, extra_body={"seed": 7})
    commit = official.videos.poll(official.post(f"/videos/{preview.id}/commit", cast_to=Video).id)
    of_commit = sha256(download(official, commit, "video")).hexdigest()
    rmtree(app.storage / "w")  # nothing is found: all is made anew
    whole = official.videos.create_and_poll(prompt="a red fox", extra_body={"seed": 7})
    assert [video.status for video in (preview, commit, whole)] == ["completed"] * 3
    assert (app.outcomes(commit.id), app.outcomes(whole.id)) == (["done"], ["done", "done"])
    assert sha256(download(official, whole, "video")).hexdigest() == of_commit

    models, request = TextToVideo.from_pretrained(small_checkpoint), app.checkpoint.request("a red fox", seed=7)
    made = make_preview(models.stage_one, request, tmp_path / "made")
    make_video(models.stage_two, request, made, tmp_path / "made", Encoding())
    assert sha256((tmp_path / "made" / "video.mp4").read_bytes()).hexdigest() == of_commit


def test_each_variant_is_what_the_video_says(official: openai.OpenAI) -> None:
    video = official.videos.create_and_poll(prompt="a blue hen")
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    with av.open(io.BytesIO(download(official, video, "video"))) as clip:
        frames = [frame.to_image() for frame in clip.decode(video=0)]
    assert len(frames) == extras(video)["num_frames"]
    assert {"{}x{}".format(*frame.size) for frame in frames} == {video.size}
    for variant in ("thumbnail", "spritesheet"):
        assert Image.open(io.BytesIO(download(official, video, variant))).format == "WEBP"


def test_a_remix_is_listed_until_it_is_deleted(official: openai.OpenAI) -> None:
    first = official.videos.create_and_poll(prompt="a cat", model=PREVIEW)
    remix = official.videos.poll(official.videos.remix(first.id, prompt="a black cat").id)
    assert (remix.status, remix.remixed_from_video_id) == ("completed", first.id)
    assert extras(remix)["seed"] == extras(first)["seed"]
    assert official.videos.retrieve(remix.id).prompt == "a black cat"
    listed = [video.id for video in official.videos.list(limit=1)]  # pages of one
    assert listed[:2] == [remix.id, first.id]
    assert len(listed) == len(set(listed))
    assert official.videos.delete(remix.id).deleted is True
    assert remix.id not in [video.id for video in official.videos.list(limit=1)]
    with pytest.raises(openai.NotFoundError):
        official.videos.retrieve(remix.id)


def test_a_few_words_become_a_caption_that_preview_and_commit_are_made_of(serve_local: str, tmp_path: Path) -> None:
    stage = StageConfig(num_cpus=0, max_request_s=1)
    running = running_app(
        tmp_path, DEFAULT_MODEL, stage, name="en", serve_url=serve_local, route="/en", enhancer=EnhancerConfig()
    )
    fewest = {"flashvideo": {stage: {"num_inference_steps": 1} for stage in ("stage_one", "stage_two")}}
    with running as app, openai.OpenAI(base_url=f"{app.url}/en/v1", api_key="none is needed") as official:
        preview = official.videos.create_and_poll(prompt="a red ball", model=PREVIEW, extra_body={"seed": 7, **fewest})
        commit = official.videos.poll(official.post(f"/videos/{preview.id}/commit", cast_to=Video).id)
        record = app.find(commit.id).video
        row = {"prompt": "a red ball", "model": PREVIEW, "seed": 7, **fewest}
        (line,) = batched(official, [{"custom_id": "ball", "method": "POST", "url": "/v1/videos", "body": row}])
    assert [video.status for video in (preview, commit)] == ["completed"] * 2
    assert [video.prompt for video in (preview, commit)] == ["a red ball"] * 2
    caption = rules.enhance("a red ball", 7).enhanced_prompt
    assert [extras(video)["enhanced_prompt"] for video in (preview, commit)] == [caption] * 2
    assert line["response"]["body"]["flashvideo"]["enhanced_prompt"] == caption
    assert record is not None
    made = Sidecar.model_validate_json((app.storage / record.artifacts["video.json"].path).read_bytes())
    assert made.prompt == caption


def batched(official: openai.OpenAI, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The output of a batch whose rows are all made."""
    content = "\n".join(json.dumps(row) for row in rows).encode()
    file = official.files.create(file=("rows.jsonl", content), purpose="batch")
    batch = official.batches.create(input_file_id=file.id, endpoint="/v1/videos", completion_window="24h")
    while (batch := official.batches.retrieve(batch.id)).status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
    assert (batch.status, batch.error_file_id) == ("completed", None)
    assert batch.output_file_id is not None
    return [json.loads(line) for line in official.files.content(batch.output_file_id).text.splitlines()]


def test_a_batch_is_made_beside_the_rest(official: openai.OpenAI) -> None:
    bodies = [{"prompt": f"{number} hens", "model": PREVIEW, "seed": number} for number in (1, 2)]
    first = official.videos.create_and_poll(prompt="1 hens", model=PREVIEW, extra_body={"seed": 1})
    commit = {"custom_id": "commit", "method": "POST", "url": f"/v1/videos/{first.id}/commit", "body": {}}
    rows = [{"custom_id": body["prompt"], "method": "POST", "url": "/v1/videos", "body": body} for body in bodies]
    lines = batched(official, [*rows, commit])
    assert [line["custom_id"] for line in lines] == ["1 hens", "2 hens", "commit"]
    videos = [official.videos.retrieve(line["response"]["body"]["id"]) for line in lines]
    assert download(official, videos[0], "video") == download(official, first, "video")
    assert extras(videos[2])["preview_id"] == first.id


def test_a_commit_of_damaged_latents_fails(app: App, official: openai.OpenAI) -> None:
    preview = official.videos.create_and_poll(prompt="an old boat", model=PREVIEW)
    record = app.find(preview.id).preview
    assert record is not None
    latents = app.storage / record.artifacts["preview.safetensors"].path
    content = bytearray(latents.read_bytes())
    content[-1] ^= 1
    latents.write_bytes(content)
    failed = official.videos.poll(official.post(f"/videos/{preview.id}/commit", cast_to=Video).id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == "artifact_damaged"
    assert app.outcomes(failed.id) == ["failed"]


def test_a_running_video_is_followed_and_cancelled(app: App, official: openai.OpenAI) -> None:
    many_steps = {"flashvideo": {"stage_one": {"num_inference_steps": 1000}}}
    video = official.videos.create(prompt="rain", model=PREVIEW, extra_body=many_steps)
    told: list[tuple[str, dict[str, Any]]] = []
    with httpx2.stream("GET", f"{app.url}/v1/videos/{video.id}/events", timeout=240) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                told.append((event, json.loads(line.removeprefix("data: "))))
                if [name for name, _ in told].count("video.progress") == 2:
                    official.post(f"/videos/{video.id}/cancel", cast_to=Video)
    events = [name for name, _ in told]
    assert events[:2] == ["video.queued", "video.in_progress"]
    assert set(events[2:-1]) == {"video.progress"}
    assert events[-1] == "video.failed"
    progress = [data["progress"] for name, data in told if name == "video.progress"]
    assert progress == sorted(progress)
    cancelled = official.videos.poll(video.id)
    assert cancelled.status == "failed"
    assert cancelled.error is not None
    assert cancelled.error.code == "cancelled"


def test_a_client_that_goes_does_not_end_its_video(app: App, official: openai.OpenAI) -> None:
    """T1: what is begun within a request is cancelled with it."""
    video = official.videos.create(prompt="fog", model=PREVIEW)
    with httpx2.stream("GET", f"{app.url}/v1/videos/{video.id}/events", timeout=240) as stream:
        next(stream.iter_lines())
    assert official.videos.poll(video.id).status == "completed"
    assert app.outcomes(video.id) == ["done"]


def test_errors_are_typed_and_not_tried_again(app: App) -> None:
    statuses: list[int] = []
    http = httpx2.Client(
        event_hooks={"response": [lambda response: statuses.append(response.status_code)]}, timeout=240
    )
    with openai.OpenAI(base_url=f"{app.url}/v1", api_key="none is needed", http_client=http) as official:
        with pytest.raises(openai.NotFoundError):
            official.videos.retrieve("video_unknown")
        with pytest.raises(openai.BadRequestError, match="upscale"):
            official.videos.create(prompt="a fox", extra_body={"upscale": True})
        many_steps = {"flashvideo": {"stage_one": {"num_inference_steps": 1000}}}
        video = official.videos.create(prompt="wind", model=PREVIEW, extra_body=many_steps)
        with pytest.raises(openai.ConflictError):
            official.videos.download_content(video.id)
        official.videos.delete(video.id)
    assert statuses == [404, 400, 200, 409, 200]
