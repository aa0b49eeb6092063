"""The official client, unmodified, against the application on a real server."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from openai.types import Video

from deployments.http.service import Service
from tests.deployments.http.conftest import served, with_config
from tests.deployments.http.worker import Worker

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

KEY = "fv_secret"


@pytest.fixture
def service(service: Service) -> Service:
    return with_config(service, api_key=KEY)


@pytest.fixture
def official(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def extras(video: Video) -> dict[str, Any]:
    assert video.model_extra is not None
    found: dict[str, Any] = video.model_extra["flashvideo"]
    return found


def test_each_form_of_a_request_gives_the_same_video(official: openai.OpenAI) -> None:
    of_form = official.videos.create(
        prompt="a fox", model="flashvideo", seconds="2", size="192x128",  # type: ignore[arg-type]
        extra_body={"seed": 7, "flashvideo": {"stage_two": {"num_inference_steps": 2}, "num_frames": None}},
    )  # fmt: skip
    body = {
        "prompt": "a fox",
        "model": "flashvideo",
        "seconds": 2,
        "size": "192x128",
        "flashvideo": {"seed": 7, "stage_two": {"num_inference_steps": 2}},
    }
    of_json = official.post("/videos", body=body, cast_to=Video)
    assert extras(of_form) | {"queue_position": 0} == extras(of_json) | {"queue_position": 0}
    assert (of_form.size, of_form.seconds, of_form.prompt) == (of_json.size, of_json.seconds, "a fox")
    assert extras(of_form)["seed"] == 7


def test_extras_that_are_unknown_are_named(official: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        official.videos.create(prompt="a fox", extra_body={"tags": ["a", "b"], "upscale": True})
    assert error.value.code == "unknown_parameter"
    assert "tags" in error.value.message
    assert "upscale" in error.value.message


def test_a_video_is_made_while_the_client_waits(official: openai.OpenAI, worker: Worker) -> None:
    def work() -> None:
        while not (waiting := official.videos.list().data):
            pass
        worker.make(waiting[0].id, "stage_one", "stage_two")

    thread = threading.Thread(target=work)
    thread.start()
    video = official.videos.create_and_poll(prompt="a fox")
    thread.join()
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    for variant in ("video", "thumbnail", "spritesheet"):
        assert len(official.videos.download_content(video.id, variant=variant).read()) > 100  # type: ignore[arg-type]


def test_a_video_that_fails_ends_the_wait(official: openai.OpenAI, worker: Worker) -> None:
    video = official.videos.create(prompt="a fox")
    worker.fail(video.id, "crash_loop", "It crashed three times.")
    failed = official.videos.poll(video.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("crash_loop", "It crashed three times.")


def test_preview_remix_and_commit(official: openai.OpenAI, worker: Worker) -> None:
    preview = official.videos.create(prompt="a fox", model="flashvideo-preview")
    worker.make(preview.id)
    edited = official.videos.remix(preview.id, prompt="a blue fox", extra_body={"seed": 3})
    assert (edited.remixed_from_video_id, extras(edited)["seed"]) == (preview.id, 3)
    commit = official.post(f"/videos/{preview.id}/commit", cast_to=Video)
    assert (commit.status, extras(commit)["preview_id"]) == ("queued", preview.id)
    cancelled = official.post(f"/videos/{commit.id}/cancel", cast_to=Video)
    assert cancelled.error is not None
    assert cancelled.error.code == "cancelled"


def test_all_pages_are_listed_and_a_deleted_video_is_not(official: openai.OpenAI) -> None:
    ids = [official.videos.create(prompt="a fox").id for _ in range(5)]
    assert [video.id for video in official.videos.list(limit=2)] == ids[::-1]
    assert official.videos.delete(ids[0]).deleted is True
    assert [video.id for video in official.videos.list(limit=2, order="asc")] == ids[1:]
    assert [model.id for model in official.models.list()] == ["flashvideo", "flashvideo-preview"]


def test_errors_are_typed(official: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError) as no_video:
        official.videos.retrieve("video_unknown")
    with pytest.raises(openai.NotFoundError) as no_model:
        official.videos.create(prompt="a fox", model="sora-2")
    with pytest.raises(openai.ConflictError) as not_ready:
        official.videos.download_content(official.videos.create(prompt="a fox").id)
    with pytest.raises(openai.BadRequestError) as not_ours:
        official.videos.create(prompt="a fox", input_reference=b"\xff\xd8\xff")
    told = [error.value.code for error in (no_video, no_model, not_ready, not_ours)]
    assert told == ["video_not_found", "model_not_found", "video_not_ready", "unsupported_parameter"]
    stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="fv_wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.videos.list()


def test_what_the_client_can_and_flashvideo_cannot(official: openai.OpenAI) -> None:
    calls = (
        lambda: official.videos.edit(prompt="a fox", video=b"mp4"),
        lambda: official.videos.extend(prompt="a fox", seconds="4", video=b"mp4"),
        lambda: official.videos.create_character(name="fox", video=b"mp4"),
        lambda: official.videos.get_character("char_1"),
    )
    for call in calls:
        with pytest.raises(openai.BadRequestError) as error:
            call()
        assert error.value.code == "unsupported_parameter"


def test_a_409_is_not_tried_again_and_a_429_is(service: Service, worker: Worker) -> None:
    limited = with_config(service, limits={"max_queued_per_tenant": 1})
    statuses: list[int] = []

    def make_room(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        if response.status_code == 429:
            impatient.post(f"/videos/{waiting.id}/cancel", cast_to=Video)

    http = httpx2.Client(event_hooks={"response": [make_room]}, timeout=60)
    with served(limited) as url:
        impatient = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
        patient = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=2, http_client=http)
        with impatient, patient:
            done = impatient.videos.create(prompt="a hen", model="flashvideo-preview")
            worker.finish(worker.begin(done.id), device_seconds=0.1)
            waiting = impatient.videos.create(prompt="a fox")
            with pytest.raises(openai.ConflictError):
                patient.videos.download_content(waiting.id)
            assert patient.videos.create(prompt="a hen").status == "queued"
    assert statuses == [409, 429, 200]


def test_events_come_while_they_happen(official: openai.OpenAI, url: str, worker: Worker) -> None:
    video = official.videos.create(prompt="a fox", model="flashvideo-preview")
    headers = {"authorization": f"Bearer {KEY}"}
    seen: list[str] = []
    with httpx2.stream("GET", f"{url}/v1/videos/{video.id}/events", headers=headers, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
                if len(seen) == 1:
                    worker.make(video.id)
    assert seen == ["video.queued", "video.in_progress", "video.completed"]


@pytest.mark.parametrize("size", [10**6, 10**7])
def test_a_huge_prompt_is_refused_and_the_server_goes_on(official: openai.OpenAI, size: int) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        official.videos.create(prompt="x" * size)
    assert (error.value.status_code, error.value.code) == (413, "body_too_large")
    assert official.videos.list().data == []


@pytest.mark.parametrize("framing", ["content-length: 100", "transfer-encoding: chunked"])
def test_a_body_that_does_not_come_is_not_waited_for(service: Service, framing: str) -> None:
    impatient = with_config(service, limits={"body_timeout_s": 0.1})
    with served(impatient) as url, socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as connection:
        headers = ["POST /v1/videos HTTP/1.1", "host: x", f"authorization: Bearer {KEY}", framing]
        connection.sendall("\r\n".join([*headers, "content-type: application/json", "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_goes_does_not_end_its_video(official: openai.OpenAI, url: str, worker: Worker) -> None:
    video = official.videos.create(prompt="a fox", model="flashvideo-preview")
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.stream("GET", f"{url}/v1/videos/{video.id}/events", headers=headers, timeout=60) as stream:
        next(stream.iter_lines())
    worker.make(video.id)
    assert official.videos.retrieve(video.id).status == "completed"


def test_a_download_is_the_file(official: openai.OpenAI, worker: Worker, tmp_path: Path) -> None:
    video = official.videos.create(prompt="a fox", model="flashvideo-preview")
    worker.make(video.id)
    official.videos.download_content(video.id).write_to_file(tmp_path / "fox.mp4")
    assert (tmp_path / "fox.mp4").read_bytes() == (worker.folder / "preview.mp4").read_bytes()
