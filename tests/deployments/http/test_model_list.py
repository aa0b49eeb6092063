from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.test_routes import create


def test_a_model_tells_what_it_can_make(client: TestClient, service: Service) -> None:
    models = client.get("/v1/models").json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["flashvideo", "flashvideo-preview"]
    model = client.get("/v1/models/flashvideo").json()
    assert model == models["data"][0]
    told = model["flashvideo"]
    assert told["checkpoint_digest"] == service.checkpoint.digest
    for seconds in told["seconds"]:
        assert create(client, seconds=seconds)["seconds"] == seconds
    for preset in told["presets"]:
        assert create(client, flashvideo={"preset": preset})["size"] == told["default_size"]
