import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config

NEVER = {"400"}
"""Of a route that is never answered otherwise."""
ROUTES = {
    ("post", "/v1/videos"): {"400", "404", "409", "429"},
    ("get", "/v1/videos"): {"400"},
    ("get", "/v1/videos/{video_id}"): {"404"},
    ("delete", "/v1/videos/{video_id}"): {"404"},
    ("get", "/v1/videos/{video_id}/content"): {"206", "302", "304", "400", "404", "409", "412", "416"},
    ("post", "/v1/videos/{video_id}/remix"): {"400", "404", "409", "429"},
    ("post", "/v1/videos/{video_id}/commit"): {"400", "404", "409", "429"},
    ("post", "/v1/videos/{video_id}/cancel"): {"404"},
    ("get", "/v1/videos/{video_id}/events"): {"204", "400", "404"},
    ("post", "/v1/prompts/enhance"): {"400"},
    ("post", "/v1/files"): {"400"},
    ("get", "/v1/files"): {"400"},
    ("get", "/v1/files/{file_id}"): {"404"},
    ("delete", "/v1/files/{file_id}"): {"404"},
    ("get", "/v1/files/{file_id}/content"): {"206", "302", "304", "404", "412", "416"},
    ("post", "/v1/batches"): {"400", "409", "429"},
    ("get", "/v1/batches"): {"400"},
    ("get", "/v1/batches/{batch_id}"): {"404"},
    ("post", "/v1/batches/{batch_id}/cancel"): {"404"},
    ("get", "/v1/models"): set(),
    ("get", "/v1/models/{model}"): {"404"},
    ("post", "/v1/videos/edits"): NEVER,
    ("post", "/v1/videos/extensions"): NEVER,
    ("post", "/v1/videos/characters"): NEVER,
    ("get", "/v1/videos/characters/{character_id}"): NEVER,
    ("get", "/metrics"): set(),
    ("get", "/healthz"): set(),
    ("get", "/readyz"): set(),
}
EVERYWHERE = {"408", "413", "415", "431", "500", "503"}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_route_is_listed_with_its_errors(document: dict[str, Any]) -> None:
    told = {
        (method, path): set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    unguarded = {"/healthz", "/readyz"}
    assert told == {
        (method, path): statuses
        | EVERYWHERE
        | (set() if path in unguarded else {"401"})
        | (set() if statuses is NEVER else {"200"})
        for (method, path), statuses in ROUTES.items()
    }


def test_every_error_is_the_envelope(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                assert "x-request-id" in response["headers"]
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/json"]
                    assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorReply")
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_field_is_described_as_this_service_limits_it(service: Service) -> None:
    limited = client_of(with_config(service, limits={"max_prompt_characters": 99})).get("/openapi.json").json()
    schemas = limited["components"]["schemas"]
    for body in ("CreateBody", "RemixBody", "EnhanceBody"):
        assert schemas[body]["properties"]["prompt"]["maxLength"] == 99
    assert schemas["CommitBody"]["properties"]["prompt"]["anyOf"][0]["maxLength"] == 99
    assert schemas["CreateBody"]["additionalProperties"] is False
    assert {"StageOneChanges", "StageTwoChanges", "RemixBody", "VideoObject"} <= schemas.keys()


def test_the_key_is_told_where_one_is_needed(service: Service, document: dict[str, Any]) -> None:
    assert document["security"] == []
    client = client_of(with_config(service, api_key="fv_secret"))
    told = client.get("/openapi.json", headers={"authorization": "Bearer fv_secret"}).json()
    assert told["security"] == [{"bearer": []}]
    assert told["paths"]["/readyz"]["get"]["security"] == []


@pytest.mark.slow
def test_generated_requests_are_answered_as_the_document_says(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    # But for one check: what a checkpoint can make, and what a form can say, is less than a schema tells.
    checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    bounds = [
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "5",
        "--seed",
        "1",
        "--generation-database=none",
    ]
    endless = ["--exclude-path-regex", "events$"]
    ended = subprocess.run(
        [*command, *checks, *bounds, *endless], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
