from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.worker import DEVICE_SECONDS, Worker


def create(client: TestClient, prompt: str = "a red fox", **fields: Any) -> dict[str, Any]:
    reply = client.post("/v1/videos", json={"prompt": prompt} | fields)
    assert reply.status_code == 200, reply.text
    video: dict[str, Any] = reply.json()
    return video


def preview(client: TestClient, **fields: Any) -> dict[str, Any]:
    return create(client, model="flashvideo-preview", **fields)


def read(client: TestClient, video: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/videos/{video['id']}").json()
    return found


def error_of(reply: Any, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.json().keys() == {"error"}
    error: dict[str, Any] = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_a_new_video_tells_all_that_it_will_be(client: TestClient, service: Service) -> None:
    video = create(client, seed=7, seconds="2", size="192x128")
    assert video == {
        "id": video["id"],
        "object": "video",
        "model": "flashvideo",
        "status": "queued",
        "progress": 0,
        "created_at": video["created_at"],
        "completed_at": None,
        "expires_at": None,
        "prompt": "a red fox",
        "size": "192x128",
        "seconds": "2",
        "remixed_from_video_id": None,
        "error": None,
        "flashvideo": {
            "kind": "full",
            "stage": "stage_one",
            "enhanced_prompt": None,
            "enhancement": None,
            "seed": 7,
            "stage_two_seed": video["flashvideo"]["stage_two_seed"],
            "preview_id": None,
            "queue_position": 0,
            "eta_seconds": None,
            "stage_durations": {},
            "sizes": {"preview": "48x32", "video": "192x128"},
            "num_frames": 17,
            "fps": service.checkpoint.fps,
        },
    }


def test_a_seed_is_drawn_where_none_is_given(client: TestClient) -> None:
    seeds = {create(client)["flashvideo"]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_a_seed_may_stand_in_either_place(client: TestClient) -> None:
    assert create(client, flashvideo={"seed": 7})["flashvideo"]["seed"] == 7
    assert create(client, seed=7, flashvideo={"seed": 7})["flashvideo"]["seed"] == 7
    reply = client.post("/v1/videos", json={"prompt": "a fox", "seed": 1, "flashvideo": {"seed": 2}})
    assert error_of(reply, 400)["param"] == "seed"


def test_a_preview_tells_the_size_of_its_file(client: TestClient) -> None:
    video = preview(client, size="384x256")
    assert (video["size"], video["flashvideo"]["sizes"]["video"]) == ("96x64", "384x256")
    assert video["flashvideo"]["kind"] == "preview"


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "sora-2"}, 404, "model_not_found", "model"),
        ({"size": "1920x1080"}, 400, "invalid_size", "size"),
        ({"seconds": "8"}, 400, "invalid_value", "seconds"),
        ({"flashvideo": {"preset": "best"}}, 400, "invalid_value", "flashvideo.preset"),
        ({"flashvideo": {"stage_two": {"num_inference_steps": 0}}}, 400, "invalid_value", None),
        ({"prompt": "x" * 2_001}, 400, "string_above_max_length", "prompt"),
        ({"prompt": "e" + "\u0301" * 10_000}, 400, "string_above_max_length", "prompt"),
        ({"prompt": "x" * 10**6}, 413, "body_too_large", None),
        ({"output_path": "../../etc"}, 400, "unknown_parameter", "output_path"),
        ({"input_reference": {"file_id": "x"}}, 400, "unsupported_parameter", "input_reference"),
    ],
)
def test_what_cannot_be_made_is_not_accepted(
    client: TestClient, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    error = error_of(client.post("/v1/videos", json={"prompt": "a fox"} | fields), status)
    assert error["code"] == code
    assert param is None or error["param"] == param
    assert client.get("/v1/videos").json()["data"] == []


def test_videos_are_listed_page_by_page(client: TestClient) -> None:
    ids = [create(client)["id"] for _ in range(5)]
    first = client.get("/v1/videos", params={"limit": 2}).json()
    assert [video["id"] for video in first["data"]] == [ids[4], ids[3]]
    assert (first["object"], first["first_id"], first["last_id"], first["has_more"]) == ("list", ids[4], ids[3], True)
    rest = client.get("/v1/videos", params={"after": first["last_id"], "limit": 100}).json()
    assert ([video["id"] for video in rest["data"]], rest["has_more"]) == ([ids[2], ids[1], ids[0]], False)
    upwards = client.get("/v1/videos", params={"order": "asc", "limit": 1}).json()
    assert upwards["last_id"] == ids[0]
    assert client.get("/v1/videos", params={"limit": 0}).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=video_unknown", "after"),
        ("after=%00", "after"),
        ("limt=5", "limt"),
    ],
)
def test_a_wrong_query_is_refused(client: TestClient, query: str, param: str) -> None:
    assert error_of(client.get(f"/v1/videos?{query}"), 400)["param"] == param


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/content"),
        ("GET", "/events"),
        ("POST", "/remix"),
        ("POST", "/commit"),
        ("POST", "/cancel"),
    ],
)
def test_an_id_that_is_none_is_told_so(client: TestClient, method: str, path: str) -> None:
    body = {"prompt": "a fox"} if path == "/remix" else None
    for video_id in ("video_unknown", "x" * 65, "%00", "%2e%2e%2fsecret", "a b", "é", "..%5c.."):
        reply = client.request(method, f"/v1/videos/{video_id}{path}", json=body)
        assert error_of(reply, 404)["code"] in {"video_not_found", "unknown_url"}, video_id


def test_another_tenant_s_video_is_not_there(client: TestClient, service: Service) -> None:
    video = create(client)
    with service.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE videos SET tenant = 'other'")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/content"), ("GET", "/events")):
        assert error_of(client.request(method, f"/v1/videos/{video['id']}{path}"), 404)["code"] == "video_not_found"
    assert client.get("/v1/videos").json()["data"] == []


def test_a_deleted_video_is_shown_no_more(client: TestClient, worker: Worker) -> None:
    video = preview(client)
    worker.make(video["id"])
    assert client.delete(f"/v1/videos/{video['id']}").json() == {
        "id": video["id"],
        "object": "video.deleted",
        "deleted": True,
    }
    for path in ("", "/content", "/events"):
        error_of(client.get(f"/v1/videos/{video['id']}{path}"), 404)
    error_of(client.delete(f"/v1/videos/{video['id']}"), 404)


def test_a_cancelled_video_has_failed_and_says_so(client: TestClient) -> None:
    video = create(client)
    cancelled = client.post(f"/v1/videos/{video['id']}/cancel").json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("failed", "cancelled")
    assert client.post(f"/v1/videos/{video['id']}/cancel").json() == cancelled


def test_a_failed_video_is_an_answer_and_no_http_error(client: TestClient, worker: Worker) -> None:
    video = create(client)
    worker.fail(video["id"], "out_of_memory", "The device's memory was too small.")
    failed = read(client, video)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "out_of_memory")
    error = error_of(client.get(f"/v1/videos/{video['id']}/content"), 409)
    assert error["code"] == "video_failed"


def test_durations_and_the_queue_tell_when_a_video_is_ready(client: TestClient, worker: Worker) -> None:
    first = preview(client)
    worker.make(first["id"])
    done = read(client, first)
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert done["flashvideo"]["stage_durations"] == {"stage_one": DEVICE_SECONDS}
    assert done["expires_at"] > done["completed_at"] >= done["created_at"]

    waiting = [preview(client) for _ in range(2)]
    assert [read(client, video)["flashvideo"]["queue_position"] for video in waiting] == [0, 1]
    assert [read(client, video)["flashvideo"]["eta_seconds"] for video in waiting] == [40.0, 60.0]
    attempt = worker.begin(waiting[0]["id"])
    worker.progress(attempt, 50)
    reply = client.get(f"/v1/videos/{waiting[0]['id']}")
    assert (reply.json()["progress"], reply.json()["flashvideo"]["eta_seconds"]) == (50, 10.0)
    assert reply.headers["openai-poll-after-ms"] == "1000"


def test_a_remix_keeps_what_is_not_edited(client: TestClient) -> None:
    video = preview(client, seed=7, size="384x256", flashvideo={"stage_one": {"num_inference_steps": 5}})
    remix = client.post(f"/v1/videos/{video['id']}/remix", json={"prompt": "a blue fox"}).json()
    assert remix["remixed_from_video_id"] == video["id"] != remix["id"]
    assert (remix["prompt"], remix["model"]) == ("a blue fox", "flashvideo-preview")
    assert remix["flashvideo"]["seed"] == 7
    assert remix["flashvideo"]["sizes"] == video["flashvideo"]["sizes"]
    other = client.post(f"/v1/videos/{video['id']}/remix", json={"prompt": "a blue fox", "seed": 8}).json()
    assert other["flashvideo"]["seed"] == 8


def test_a_commit_runs_stage_two_of_exactly_that_preview(client: TestClient, worker: Worker) -> None:
    video = preview(client, seed=7)
    worker.make(video["id"])
    reply = client.post(
        f"/v1/videos/{video['id']}/commit",
        json={"prompt": "crisp fur", "seed": 9, "flashvideo": {"stage_two": {"num_inference_steps": 2}}},
    )
    commit = reply.json()
    assert (commit["status"], commit["prompt"], commit["model"]) == ("queued", "crisp fur", "flashvideo")
    assert commit["remixed_from_video_id"] == commit["flashvideo"]["preview_id"] == video["id"]
    assert (commit["flashvideo"]["kind"], commit["flashvideo"]["stage"]) == ("commit", "stage_two")
    assert (commit["flashvideo"]["seed"], commit["flashvideo"]["stage_two_seed"]) == (7, 9)
    attempt = worker.begin(commit["id"], "stage_two")
    assert attempt.video.preview is not None
    assert attempt.video.request.stage_two.num_inference_steps == 2
    worker.finish(attempt)
    assert read(client, commit)["flashvideo"]["stage_durations"] == {"stage_two": DEVICE_SECONDS}


def test_the_same_commit_is_one_video_also_without_a_key(client: TestClient, worker: Worker) -> None:
    video = preview(client)
    worker.make(video["id"])
    url = f"/v1/videos/{video['id']}/commit"
    first, again, same = client.post(url), client.post(url, json={}), client.post(url, json={"prompt": "a red fox"})
    assert first.json()["id"] == again.json()["id"] == same.json()["id"]
    assert [reply.headers.get("idempotent-replayed") for reply in (first, again, same)] == [None, "true", "true"]
    assert client.post(url, json={"seed": 9}).json()["id"] != first.json()["id"]
    client.post(f"/v1/videos/{first.json()['id']}/cancel")
    assert client.post(url).json()["id"] != first.json()["id"], "what was cancelled may be asked for again"


@pytest.mark.parametrize("state", ["queued", "in_progress", "failed", "full"])
def test_what_is_no_finished_preview_is_not_committed(client: TestClient, worker: Worker, state: str) -> None:
    video = create(client) if state == "full" else preview(client)
    if state == "in_progress":
        worker.begin(video["id"])
    if state == "failed":
        worker.fail(video["id"], "crash_loop", "It crashed.")
    reply = client.post(f"/v1/videos/{video['id']}/commit")
    error_of(reply, 409)
    assert reply.headers["x-should-retry"] == "false"


def test_a_preview_that_is_no_longer_kept_is_not_committed(client: TestClient, worker: Worker) -> None:
    video = preview(client)
    worker.make(video["id"], keep_s=-1.0)
    assert error_of(client.post(f"/v1/videos/{video['id']}/commit"), 404)["code"] == "video_expired"


def test_a_preview_of_another_checkpoint_is_not_committed(client: TestClient, worker: Worker, service: Service) -> None:
    video = preview(client)
    worker.make(video["id"])
    with service.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE videos SET checkpoint_digest = 'sha256:0'")
    assert error_of(client.post(f"/v1/videos/{video['id']}/commit"), 409)["code"] == "checkpoint_changed"


@pytest.mark.parametrize(("limit", "status"), [("max_queued_per_tenant", 429), ("max_queued", 503)])
def test_a_full_queue_tells_when_to_come_again(service: Service, limit: str, status: int) -> None:
    client = client_of(with_config(service, limits={limit: 2}))
    for _ in range(2):
        create(client)
    reply = client.post("/v1/videos", json={"prompt": "a fox"})
    error_of(reply, status)
    assert int(reply.headers["retry-after"]) * 1000 >= int(reply.headers["retry-after-ms"]) > 0


def test_what_would_take_too_long_is_refused_before_it_waits(
    service: Service, client: TestClient, worker: Worker
) -> None:
    worker.make(preview(client)["id"])
    limited = client_of(with_config(service, limits={"max_device_seconds": 2 * DEVICE_SECONDS}))
    preview(limited)
    steps = service.checkpoint.presets[service.checkpoint.default_preset].stage_one.num_inference_steps
    more = {"stage_one": {"num_inference_steps": 3 * steps}}
    body = {"prompt": "a fox", "model": "flashvideo-preview", "flashvideo": more}
    assert error_of(limited.post("/v1/videos", json=body), 400)["code"] == "too_expensive"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/videos/edits"),
        ("POST", "/v1/videos/extensions"),
        ("POST", "/v1/videos/characters"),
        ("GET", "/v1/videos/characters/char_1"),
    ],
)
def test_what_is_not_supported_is_told(client: TestClient, method: str, path: str) -> None:
    assert error_of(client.request(method, path), 400)["code"] == "unsupported_parameter"
