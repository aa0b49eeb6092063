import shutil
import time
from pathlib import Path

from starlette.testclient import TestClient

from deployments.http.probes import LOOK_EVERY_S, Readiness
from deployments.http.service import Service
from tests.deployments.http.test_routes import error_of


def test_a_service_that_can_work_is_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == client.get("/healthz").json() == {"status": "ok"}


def test_without_its_store_it_lives_but_is_not_ready(client: TestClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_text("no folder")
    assert error_of(client.get("/readyz"), 503)["code"] == "unavailable"
    assert client.get("/healthz").status_code == 200


def test_strangers_make_no_more_writes_than_one_a_second(service: Service) -> None:
    def looked_at() -> float:
        with service.engine.connect() as conn:
            return float(conn.exec_driver_sql("SELECT at FROM probes").scalar_one())

    readiness = Readiness(service)
    readiness.check()
    first = looked_at()
    readiness.looked_at = time.monotonic()
    readiness.check()
    assert looked_at() == first
    readiness.looked_at -= 2 * LOOK_EVERY_S
    readiness.check()
    assert looked_at() > first


def test_without_its_database_it_lives_but_is_not_ready(client: TestClient, service: Service) -> None:
    with service.engine.begin() as conn:
        conn.exec_driver_sql("DROP TABLE probes")
    assert error_of(client.get("/readyz"), 503)["code"] == "unavailable"
    assert client.get("/healthz").status_code == 200
