from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.conftest import client_of, with_config
from tests.deployments.http.test_routes import error_of

LINES = b'{"a": 1}\r\n\n{"a": 2}'


def upload(client: TestClient, content: bytes = LINES, name: str = "in.jsonl", **fields: str) -> Any:
    return client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "batch"} | fields)


def uploaded(client: TestClient, content: bytes = LINES, **fields: str) -> dict[str, Any]:
    reply = upload(client, content, **fields)
    assert reply.status_code == 200, reply.text
    file: dict[str, Any] = reply.json()
    return file


def test_a_file_is_what_was_uploaded(client: TestClient) -> None:
    file = uploaded(client)
    times = {name: file[name] for name in ("created_at", "expires_at")}
    told = {"object": "file", "bytes": len(LINES), "filename": "in.jsonl", "purpose": "batch", "status": "processed"}
    assert file == {"id": file["id"], **told, **times}
    assert file["expires_at"] - file["created_at"] == 30 * 86_400
    assert client.get(f"/v1/files/{file['id']}").json() == file
    content = client.get(f"/v1/files/{file['id']}/content")
    assert (content.content, content.headers["content-type"]) == (LINES, "application/jsonl")
    part = client.get(f"/v1/files/{file['id']}/content", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, LINES[2:5])


def test_a_file_is_kept_as_long_as_was_asked_for(client: TestClient) -> None:
    bracketed = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = uploaded(client, **bracketed)
    assert file["expires_at"] - file["created_at"] == 3600


def test_a_deleted_file_is_there_no_more(client: TestClient) -> None:
    gone, kept = uploaded(client)["id"], uploaded(client)["id"]
    assert client.delete(f"/v1/files/{gone}").json() == {"id": gone, "object": "file", "deleted": True}
    for path in (f"/v1/files/{gone}", f"/v1/files/{gone}/content", "/v1/files/%20"):
        assert error_of(client.get(path), 404)["code"] == "file_not_found"
    assert [file["id"] for file in client.get("/v1/files").json()["data"]] == [kept]
    assert client.get("/v1/files?purpose=batch_output").json()["data"] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b\n.jsonl", "naïve 🦊", "x" * 1000, "", "\ud800"])
def test_a_name_is_only_told(client: TestClient, name: str) -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\n'
    raw = name.encode("utf-8", "surrogatepass")
    body += b'content-disposition: form-data; name="file"; filename="' + raw + b'"\r\n\r\n{}\r\n--b--\r\n'
    reply = client.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert reply.status_code in (200, 400), reply.text
    if reply.status_code == 200:
        assert 0 < len(reply.json()["filename"]) <= 255
        assert client.get(f"/v1/files/{reply.json()['id']}/content").content == b"{}"


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        ({"max_file_bytes": len(LINES) - 1}, 413, "file_too_large"),
        ({"max_rows": 1}, 400, "too_many_rows"),
        ({"max_line_bytes": 9}, 400, "line_too_long"),
    ],
)
def test_a_large_file_is_refused(service: Service, limits: dict[str, int], status: int, code: str) -> None:
    client = client_of(with_config(service, batches=limits))
    assert error_of(upload(client), status)["code"] == code
    assert client.get("/v1/files").json()["data"] == []
    exact = {"max_file_bytes": len(LINES), "max_rows": 2, "max_line_bytes": 10}
    uploaded(client_of(with_config(service, batches=exact)))


@pytest.mark.parametrize("content", [b"", b"\n \r\n"])
def test_a_file_without_rows_is_refused(client: TestClient, content: bytes) -> None:
    assert error_of(upload(client, content), 400)["code"] == "empty_file"


def test_what_is_no_upload_is_told(client: TestClient) -> None:
    assert error_of(upload(client, purpose="vision"), 400)["param"] == "purpose"
    assert error_of(upload(client, color="red"), 400)["code"] == "unknown_parameter"
    assert error_of(client.post("/v1/files", json={"purpose": "batch"}), 415)["code"] == "unsupported_media_type"
    for files in ({"other": ("a", b"{}")}, {"purpose": (None, "batch")}):
        assert error_of(client.post("/v1/files", files=files), 400)["param"] == "file"
    broken = client.post("/v1/files", content=b"x", headers={"content-type": "multipart/form-data"})
    assert error_of(broken, 400)["code"] == "invalid_body"
