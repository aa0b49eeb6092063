"""The ingress: the HTTP application behind Serve. Takes requests and sends results; knows no model."""

from __future__ import annotations

import ipaddress

from dbos import DBOSClient
from fastapi import FastAPI
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from deployments.config import AppConfig
from deployments.database.engine import open_engine
from deployments.database.upgrade import upgrade
from deployments.enhancer_call import enhance_call
from deployments.http.api import make_api
from deployments.http.service import Service
from fv_ray.artifact_store import ArtifactStore
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.errors import InputError
from fv_ray.file_store import FileStore


class Ingress:
    """One of any number; all that it knows is in the database and the store."""

    def __init__(
        self, config: AppConfig, _orchestrator: DeploymentHandle, enhancer: DeploymentHandle | None = None
    ) -> None:
        # The orchestrator is not asked for anything: being bound here makes it a part of the application.
        # Serve tells the address that its HTTP listens on through nothing public but its REST, on a dashboard that need
        # not run; where this is gone, the service does not start.
        check_exposure(config, _get_global_client().http_config.host)
        engine = open_engine(config.database_url)
        upgrade(engine)
        self._service = Service(
            config=config,
            checkpoint=CheckpointInfo.read(config.checkpoint),
            engine=engine,
            client=DBOSClient(system_database_engine=engine),
            store=ArtifactStore.open(config.storage_url),
            files=FileStore.open(config.storage_url),
            enhance=enhance_call(config, enhancer),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve."""
        return make_api(self._service)


def check_exposure(config: AppConfig, host: str | None) -> None:
    """Refuse to let everybody in where others than this machine can ask.

    Raises:
        InputError: naming the address.
    """
    if config.api_key is not None or config.insecure_no_auth or host is None or _is_loopback(host):
        return
    raise InputError(
        f"HTTP listens on {host}, which other machines reach, and there is no API key; allowed without one are "
        "loopback addresses: set FV_RAY_API_KEY, or insecure_no_auth=true where something else lets nobody in"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
