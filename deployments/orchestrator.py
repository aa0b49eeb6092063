"""The orchestrator: takes videos from the queues, runs them on the stages, and removes what has expired."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.batch_jobs import BatchJobs
from deployments.config import AppConfig, StageConfig
from deployments.database.batch_steps import forget_batches
from deployments.database.engine import open_engine
from deployments.database.files import sweep_files, unknown_paths
from deployments.database.retention import sweep
from deployments.database.upgrade import upgrade
from deployments.enhancer_call import enhance_call
from deployments.http.service import EnhanceCall, Service
from deployments.job_names import APPLICATION_VERSION, BATCHES, RUN_BATCH, RUN_STAGE
from deployments.stage_stream import StageCall
from deployments.stage_work import Done, StageWork, Step
from deployments.video_jobs import StageAccess, VideoJobs
from fv_ray.artifact_store import ArtifactStore, Stage
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.file_store import FileStore

POLL_EVERY_S = 0.05
"""A queue is looked at, by all orchestrators together: a look takes a millisecond of CPU, and a video waits for one at
each of its stages."""
RANK_EVERY_S = 0.2
NUM_BATCHES = 100
"""Batches that an orchestrator follows at once: each costs a look now and then."""
SWEEPER = 0
"""The rank of the one that removes what has expired: two at once would remove what was made again in between."""
ORPHAN_AGE = timedelta(days=1)
"""Longer than any commit of a result takes."""

logger = logging.getLogger(f"ray.serve.{__name__}")


class Orchestrator:
    """One of a fixed number: its rank, which the replica that replaces it gets too, owns the videos that it runs."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        config: AppConfig,
        stage_one: DeploymentHandle,
        stage_two: DeploymentHandle,
        enhancer: DeploymentHandle | None = None,
    ) -> None:
        self._config = config
        self._is_stopping = threading.Event()
        handles: dict[Stage, DeploymentHandle] = {"stage_one": stage_one, "stage_two": stage_two}
        self._calls = {stage: over_handle(handle, self._is_stopping) for stage, handle in handles.items()}
        self._enhance = enhance_call(config, enhancer)
        jobs = await self._launch() if rank() < config.num_orchestrators else None  # what cannot begin says so here
        self._working = asyncio.create_task(self._work(jobs))

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises."""
        if self._working.done():
            raise RuntimeError("the orchestrator has ended; it works as long as the replica: replace it")

    def __del__(self) -> None:
        """Called by Serve before it stops the replica: what the stages run they finish, and the next one finds it."""
        self._is_stopping.set()
        DBOS.destroy()

    async def _launch(self) -> VideoJobs:
        # In a thread, so that DBOS runs workflows on a loop of its own, where no request's context is (it would cancel
        # their calls when its client goes).
        return await asyncio.to_thread(launch_jobs, self._config, self._calls, rank(), self._enhance)

    async def _work(self, jobs: VideoJobs | None) -> None:
        # Serve replaces a replica that fails its health checks before it has stopped, and the new one is one too many:
        # it gets the old one's rank, and with it its videos, when the old one is gone.
        while rank() >= self._config.num_orchestrators:
            await asyncio.sleep(RANK_EVERY_S)
        await self._sweep_for_ever(jobs or await self._launch())

    async def _sweep_for_ever(self, jobs: VideoJobs) -> None:
        store = await asyncio.to_thread(ArtifactStore.open, self._config.storage_url)
        files = FileStore.open(self._config.storage_url)
        while True:
            try:
                if rank() == SWEEPER:
                    await asyncio.to_thread(remove_expired, self._config, jobs, store, files)
            except Exception:  # a store or a database that is away comes back
                logger.exception("expired results could not be removed; this is tried again")
            await asyncio.sleep(self._config.retention.sweep_every_s)


def rank() -> int:
    """Of this replica, as Serve has it now: from 0, without gaps when as many run as there shall be."""
    return int(serve.get_replica_context().rank.rank)


def launch_jobs(
    config: AppConfig, calls: Mapping[Stage, StageCall], of_rank: int, enhance: EnhanceCall | None = None
) -> VideoJobs:
    """Begin to take videos from the queues, first those that an orchestrator of this rank has left."""
    engine = open_engine(config.database_url)
    upgrade(engine)
    kept: dict[Stage, tuple[StageConfig, float]] = {
        "stage_one": (config.stage_one, config.retention.preview_s),
        "stage_two": (config.stage_two, config.retention.video_s),
    }
    stages = {
        stage: StageAccess(calls[stage], stall_s=settings.stall_s, keep_s=keep_s)
        for stage, (settings, keep_s) in kept.items()
    }
    serializer = DBOSPortableJSONSerializer()  # its default is pickle
    client = DBOSClient(system_database_engine=engine, serializer=serializer)
    jobs = VideoJobs(engine, client, stages, config.first_retry_s)
    dbos_config = DBOSConfig(
        name="fv-ray",
        system_database_engine=engine,
        executor_id=executor_name(of_rank),
        application_version=APPLICATION_VERSION,
        serializer=serializer,
        log_level="WARNING",
    )
    DBOS(config=dbos_config)
    jobs.register()
    BatchJobs(open_service(config, engine, client, enhance)).register()
    DBOS.launch()
    take_over_orphans(config.num_orchestrators)
    for stage, (settings, _) in kept.items():
        # No limit over all executors: it would take a transaction that they all contend for.
        window = math.ceil((settings.max_replicas + 1) / config.num_orchestrators)
        DBOS.register_queue(
            stage,
            worker_concurrency=window,
            polling_interval_sec=POLL_EVERY_S * config.num_orchestrators,
            on_conflict="always_update",
        )
    DBOS.register_queue(BATCHES, worker_concurrency=NUM_BATCHES, on_conflict="always_update")
    return jobs


def open_service(
    config: AppConfig, engine: sa.Engine, client: DBOSClient, enhance: EnhanceCall | None = None
) -> Service:
    """What a batch's rows are checked, enhanced and told with: the same as for requests over HTTP."""
    return Service(
        config=config,
        checkpoint=CheckpointInfo.read(config.checkpoint),
        engine=engine,
        client=client,
        store=ArtifactStore.open(config.storage_url),
        files=FileStore.open(config.storage_url),
        enhance=enhance,
    )


def take_over_orphans(num_orchestrators: int) -> None:
    """Put back what was run by an orchestrator of a rank that there is no more, since their number was lowered."""
    ranks = {executor_name(each) for each in range(num_orchestrators)}
    for workflow in DBOS.list_workflows(
        status="PENDING", name=[RUN_STAGE, RUN_BATCH], load_input=False, load_output=False
    ):
        if workflow.executor_id not in ranks:
            DBOS.resume_workflow(workflow.workflow_id, queue_name=workflow.queue_name)


def executor_name(of_rank: int) -> str:
    """What DBOS calls the orchestrator of a rank."""
    return f"orchestrator-{of_rank}"


def remove_expired(config: AppConfig, jobs: VideoJobs, store: ArtifactStore, files: FileStore) -> None:
    """Remove results, files and rows that have expired, and what is stored and no row names."""
    kept, now = config.retention, datetime.now(UTC)
    sweep(jobs.engine, jobs.client, store.delete, record_s=kept.record_s, usage_s=kept.usage_s)
    store.sweep(now - ORPHAN_AGE)
    while forget_batches(jobs.engine, now.timestamp() - kept.record_s):
        pass
    sweep_files(jobs.engine, files.remove, now.timestamp())
    for path in unknown_paths(jobs.engine, files.older_than(now - ORPHAN_AGE)):
        files.remove(path)


def over_handle(handle: DeploymentHandle, is_stopping: threading.Event) -> StageCall:
    """A stage that is reached through Serve. Its work is cancelled with the call, unless this process is to stop."""

    async def call(work: StageWork) -> AsyncGenerator[Step | Done, None]:
        response = handle.options(stream=True).run.remote(work)
        try:
            async for told in response:
                yield told
        except BaseException:  # also where the stream is closed before its end
            if not is_stopping.is_set():
                response.cancel()
            raise

    return call
