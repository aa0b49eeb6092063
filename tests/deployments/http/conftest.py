"""The application over a real database, a real store, and the tiny checkpoint's description."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from dbos import DBOSClient
from starlette.testclient import TestClient

from deployments.config import AppConfig
from deployments.database.engine import open_engine
from deployments.http.api import make_api
from deployments.http.service import Service
from fv_ray.artifact_store import ArtifactStore
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.file_store import FileStore
from tests.deployments.http.worker import Worker


@pytest.fixture
def service(tmp_path: Path, checkpoint: Path, sqlite_template: Path) -> Iterator[Service]:
    shutil.copy(sqlite_template, tmp_path / "videos.sqlite")
    engine = open_engine(f"sqlite:///{tmp_path}/videos.sqlite")
    client = DBOSClient(system_database_engine=engine)
    yield Service(
        config=AppConfig(checkpoint=checkpoint),
        checkpoint=CheckpointInfo.read(checkpoint),
        engine=engine,
        client=client,
        store=ArtifactStore.open(str(tmp_path / "artifacts"), patience_s=1),
        files=FileStore.open(str(tmp_path / "artifacts")),
    )
    client.destroy()
    engine.dispose()


def with_config(service: Service, **changes: Any) -> Service:
    """The same service, set otherwise."""
    return replace(service, config=AppConfig.model_validate(service.config.model_dump() | changes))


def client_of(service: Service) -> TestClient:
    """Errors that nobody foresaw are answers here, as a server gives them."""
    return TestClient(make_api(service), raise_server_exceptions=False)


@pytest.fixture
def client(service: Service) -> TestClient:
    return client_of(service)


@pytest.fixture
def worker(service: Service, tmp_path: Path) -> Worker:
    return Worker(service, tmp_path)


@contextmanager
def served(service: Service) -> Iterator[str]:
    """The application on a real server at a free loopback port; its URL."""
    server = uvicorn.Server(uvicorn.Config(make_api(service), host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with served(service) as url:
        yield url
