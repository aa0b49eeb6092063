import shutil
from pathlib import Path

from starlette.testclient import TestClient

from deployments.http.service import Service
from tests.deployments.http.test_routes import error_of


def test_a_service_that_can_work_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == client.get("/healthz").json() == {"status": "ok"}


def test_without_its_store_it_lives_but_is_not_ready(client: TestClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_text("no folder")
    assert error_of(client.get("/readyz"), 503)["code"] == "unavailable"
    assert client.get("/healthz").status_code == 200


def test_without_its_database_it_lives_but_is_not_ready(client: TestClient, service: Service) -> None:
    with service.engine.begin() as conn:
        conn.exec_driver_sql("DROP TABLE probes")
    assert error_of(client.get("/readyz"), 503)["code"] == "unavailable"
    assert client.get("/healthz").status_code == 200
