from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from fv_ray.artifact_store import ArtifactStore
from fv_ray.video_io import read_frames
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_routes import create, error_of, preview
from tests.deployments.http.worker import Worker


@pytest.fixture
def made(client: TestClient, worker: Worker) -> str:
    """The URL of a preview's file."""
    video = preview(client)
    worker.make(video["id"])
    return f"/v1/videos/{video['id']}/content"


@pytest.mark.parametrize(
    ("variant", "media_type", "suffix", "magic"),
    [
        ("video", "video/mp4", ".mp4", b"ftyp"),
        ("preview", "video/mp4", "_preview.mp4", b"ftyp"),
        ("thumbnail", "image/webp", ".webp", b"WEBP"),
        ("spritesheet", "image/webp", "_sheet.webp", b"WEBP"),
    ],
)
def test_each_variant_is_a_file(
    client: TestClient, made: str, variant: str, media_type: str, suffix: str, magic: bytes
) -> None:
    reply = client.get(made, params={"variant": variant})
    assert (reply.status_code, reply.headers["content-type"]) == (200, media_type)
    assert magic in reply.content[:16]
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert reply.headers["x-content-type-options"] == "nosniff"
    name = made.split("/")[3]
    assert reply.headers["content-disposition"] == f'attachment; filename="{name}{suffix}"'


def test_a_downloaded_video_plays(client: TestClient, made: str, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(client.get(made).content)
    assert read_frames(tmp_path / "video.mp4").shape == (9, 32, 48, 3)


def test_a_download_goes_on_where_it_was_torn(client: TestClient, made: str) -> None:
    whole = client.get(made)
    size, etag = len(whole.content), whole.headers["etag"]
    first = client.get(made, headers={"range": "bytes=0-99"})
    rest = client.get(made, headers={"range": "bytes=100-", "if-range": etag})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == whole.content
    assert first.headers["content-range"] == f"bytes 0-99/{size}"
    assert client.get(made, headers={"if-none-match": etag}).status_code == 304
    assert error_of(client.get(made, headers={"if-match": '"old"'}), 412)["code"] == "precondition_failed"
    beyond = client.get(made, headers={"range": f"bytes={size}-"})
    assert error_of(beyond, 416)["code"] == "range_not_satisfiable"
    assert beyond.headers["content-range"] == f"bytes */{size}"


def test_pictures_are_there_as_soon_as_stage_one_is_done(client: TestClient, worker: Worker) -> None:
    url = f"/v1/videos/{create(client)['id']}/content"
    for variant in ("video", "thumbnail", "preview"):
        reply = client.get(url, params={"variant": variant})
        assert error_of(reply, 409)["code"] == "video_not_ready"
        assert reply.headers["x-should-retry"] == "false"
    worker.make(url.split("/")[3], "stage_one")
    of_preview = {variant: client.get(url, params={"variant": variant}) for variant in ("thumbnail", "preview")}
    assert {reply.status_code for reply in of_preview.values()} == {200}
    error_of(client.get(url), 409)
    worker.make(url.split("/")[3], "stage_two")
    assert client.get(url).headers["content-type"] == "video/mp4"
    assert client.get(url, params={"variant": "preview"}).content == of_preview["preview"].content


@pytest.mark.parametrize("variant", ["0", "latents", "preview.safetensors", "../record.json"])
def test_no_other_file_can_be_had(client: TestClient, made: str, variant: str) -> None:
    assert error_of(client.get(made, params={"variant": variant}), 400)["param"] == "variant"


def test_a_file_that_is_gone_is_an_error_and_no_torn_reply(client: TestClient, made: str, tmp_path: Path) -> None:
    for path in (tmp_path / "artifacts").rglob("*.mp4"):
        path.unlink()
    reply = client.get(made)
    assert error_of(reply, 500)["code"] == "file_damaged"
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.usefixtures("s3")
def test_a_download_is_sent_to_the_object_store_where_that_is_configured(service: Service, tmp_path: Path) -> None:
    in_bucket = replace(with_config(service, signed_url_s=60), store=ArtifactStore.open(f"s3://bucket/{uuid4()}"))
    client = client_of(in_bucket)
    video = preview(client)
    Worker(in_bucket, tmp_path).make(video["id"])
    reply = client.get(f"/v1/videos/{video['id']}/content", follow_redirects=False)
    assert (reply.status_code, reply.headers["cache-control"]) == (302, "no-store")
    direct = client_of(replace(in_bucket, config=service.config)).get(f"/v1/videos/{video['id']}/content")
    with urlopen(reply.headers["location"]) as file:
        assert file.read() == direct.content
        assert video["id"] in file.headers["content-disposition"]
