import os
import platform

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.test_routes import create, preview
from tests.deployments.http.worker import DEVICE_SECONDS, Worker


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Each value by its name and labels, but for the process that tells it."""
    reply = client.get("/metrics")
    assert reply.status_code == 200
    return {
        (sample.name, *(value for name, value in sample.labels.items() if name != "ingress")): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def test_jobs_and_queues_are_counted(client: TestClient, worker: Worker) -> None:
    worker.make(preview(client)["id"])
    create(client)
    worker.begin(create(client)["id"])
    told = samples(client)
    states = {state: told["fv_jobs", state] for state in ("queued", "in_progress", "completed", "failed")}
    assert states == {"queued": 1, "in_progress": 1, "completed": 1, "failed": 0}
    assert [told["fv_queue_depth", stage] for stage in ("stage_one", "stage_two")] == [1, 0]
    assert told["fv_stage_running", "stage_one"] == 1
    assert told["fv_stage_mean_seconds", "stage_one"] == DEVICE_SECONDS
    assert told["fv_database_up",] == 1


def test_requests_are_counted_by_template(client: TestClient) -> None:
    video = create(client, prompt="a secret fox")
    client.get(f"/v1/videos/{video['id']}")
    client.get(f"/nowhere/{video['id']}")
    client.request("BREW", "/v1/videos")
    told = samples(client)
    assert told["fv_http_requests_total", "GET", "/v1/videos/{video_id}", "200"] == 1
    assert told["fv_http_requests_total", "GET", "unknown", "404"] == 1
    assert told["fv_http_request_seconds_count", "POST", "/v1/videos"] == 1
    text = client.get("/metrics").text
    assert f'fv_http_requests_total{{ingress="{platform.node()}-{os.getpid()}",method="GET"' in text
    assert video["id"] not in text
    assert "BREW" not in text
    assert "secret" not in text


def test_requests_are_told_also_without_the_database(client: TestClient, service: Service) -> None:
    client.get("/healthz")
    with service.engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE videos RENAME TO lost")
    told = samples(client)
    assert told["fv_database_up",] == 0
    assert told["fv_http_requests_total", "GET", "/healthz", "200"] == 1
