from starlette.testclient import TestClient

from deployments.http.service import Service
from fv_ray.training.procedural import rules
from tests.deployments.http.conftest import client_of
from tests.deployments.http.test_enhancing import SHORT, away, caption, enhanced_service
from tests.deployments.http.test_routes import error_of

URL = "/v1/prompts/enhance"


def test_a_prompt_is_enhanced_as_a_video_of_its_seed_would_be(service: Service) -> None:
    client = client_of(enhanced_service(service))
    told = client.post(URL, json={"prompt": SHORT, "seed": 7}).json()
    made = client.post("/v1/videos", json={"prompt": SHORT, "seed": 7}).json()["flashvideo"]
    assert told["enhanced_prompt"] == made["enhanced_prompt"] == caption(7)
    assert told == {"object": "enhanced_prompt", "prompt": SHORT, "enhanced_prompt": caption(7), **made["enhancement"]}
    form = client.post(URL, files={"prompt": (None, SHORT), "seed": (None, "7")}).json()
    assert form == told
    assert len(client.get("/v1/videos").json()["data"]) == 1


def test_a_caption_passes_unless_asked(service: Service) -> None:
    client = client_of(enhanced_service(service))
    full = rules.enhance(SHORT, 0).enhanced_prompt
    assert client.post(URL, json={"prompt": full}).json()["outcome"] == "long_enough"
    assert client.post(URL, json={"prompt": full, "enhance_prompt": "always"}).json()["enhanced_prompt"] == full


def test_what_cannot_be_enhanced_is_told(service: Service, client: TestClient) -> None:
    assert error_of(client.post(URL, json={"prompt": SHORT}), 400)["code"] == "unsupported_parameter"
    asked = client_of(enhanced_service(service))
    for body in ({}, {"prompt": " "}, {"prompt": "a\x00b"}, {"prompt": "fox " * 10_000}, {"prompt": SHORT, "seed": -1}):
        error_of(asked.post(URL, json=body), 400)
    assert (
        error_of(asked.post(URL, json={"prompt": SHORT, "enhance_prompt": "never"}), 400)["param"] == "enhance_prompt"
    )
    assert (
        client_of(enhanced_service(service, away)).post(URL, json={"prompt": SHORT}).json()["outcome"] == "unavailable"
    )
