"""What is done to a service: each fault by a name."""

import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from random import Random
from typing import Literal

import psutil

from tests.chaos.client import Create, ask_and_cancel, ask_and_go_away, ask_once, ask_twice_and_more
from tests.chaos.service import STALL_S, Service, until
from tests.object_store import ObjectStore, some

STAGES = ("StageOne", "StageTwo")


@dataclass(frozen=True)
class Stage:
    """Where a fault is set: the service, and its object store where it has one."""

    service: Service
    objects: ObjectStore | None = None


Inject = Callable[[Stage, Random], float | None]
"""Does it once; gives the Unix time from which a recovery counts, where that is not the beginning."""


@dataclass(frozen=True)
class Fault:
    name: str
    what: str
    """For the table."""
    inject: Inject | None = None
    create: Create = ask_once
    slots: int | None = 0
    """Stage replicas that it costs the work at hand; None: it costs all that they make while it lasts."""
    may_fail: Set[str] = frozenset()
    """Error codes that it explains."""
    needs: Literal["any", "sqlite", "postgres", "s3", "two orchestrators"] = "any"


def kill(deployment: str) -> Inject:
    def inject(stage: Stage, _: Random) -> None:
        stage.service.signal(deployment, signal.SIGKILL)

    return inject


def kill_a_stage(stage: Stage, draws: Random) -> None:
    stage.service.signal(draws.choice(STAGES), signal.SIGKILL)


def kill_one_orchestrator(stage: Stage, draws: Random) -> None:
    """Whichever; the other one goes on."""
    until(lambda: len(stage.service.processes("Orchestrator")) == 2, "there are two orchestrators")
    draws.choice(stage.service.processes("Orchestrator")).kill()


def kill_everything(stage: Stage, _: Random) -> None:
    stage.service.kill_everything()
    stage.service.start()


def pause(deployments: tuple[str, ...], least_s: float, most_s: float) -> Inject:
    """Stop a replica for a while: who it worked for may have given it up, and it does not know."""

    def inject(stage: Stage, draws: Random) -> None:
        process = stage.service.signal(draws.choice(deployments), signal.SIGSTOP)
        time.sleep(draws.uniform(least_s, most_s))
        with suppress(psutil.NoSuchProcess):  # Serve may have replaced it
            process.send_signal(signal.SIGCONT)

    return inject


def hang_orchestrator(stage: Stage, _: Random) -> None:
    """Until Serve has replaced it."""
    process = stage.service.signal("Orchestrator", signal.SIGSTOP)
    until(lambda: not process.is_running(), "Serve has killed the orchestrator")


def lock_sqlite(stage: Stage, draws: Random) -> float:
    """Longer and shorter than SQLite's own patience of 30 s."""
    with closing(sqlite3.connect(stage.service.sqlite, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(draws.uniform(5, 45))
        connection.execute("ROLLBACK")
    return time.time()


def stop_postgres(stage: Stage, draws: Random) -> float:
    assert stage.service.postgres is not None
    stage.service.postgres.stop()
    time.sleep(draws.uniform(2, 30))
    stage.service.postgres.start()
    return time.time()


def refuse_objects(stage: Stage, draws: Random) -> float:
    """503 to all, for a while, then to one request in five."""
    assert stage.objects is not None
    with stage.objects.spoiled(lambda *_: "refuse"):
        time.sleep(draws.uniform(3, 20))
    with stage.objects.spoiled(some(0.2, "refuse", draws.getrandbits(20))):
        time.sleep(draws.uniform(3, 10))
    return time.time()


def fill_disk(stage: Stage, draws: Random) -> float:
    """No process of the service can make a file longer than a byte: neither results nor database."""
    names = ("Ingress", "Orchestrator", *STAGES)
    processes = [process for name in names for process in stage.service.processes(name)]
    _limit_files(processes, 1)
    time.sleep(draws.uniform(3, 15))
    _limit_files(processes, resource.RLIM_INFINITY)
    return time.time()


def _limit_files(processes: list[psutil.Process], num_bytes: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))


LOOP: frozenset[str] = frozenset({"crash_loop"})
"""Where one video is hit three times."""

_FAULTS = (
    Fault("stage_kill", "SIGKILL of a stage's replica", kill_a_stage, slots=1, may_fail=LOOP),
    Fault("ingress_kill", "SIGKILL of the ingress", kill("Ingress")),
    Fault("orchestrator_kill", "SIGKILL of the orchestrator", kill("Orchestrator"), slots=2),
    Fault(
        "one_orchestrator_kill",
        "SIGKILL of one of two orchestrators",
        kill_one_orchestrator,
        slots=2,
        needs="two orchestrators",
    ),
    Fault("proxy_kill", "SIGKILL of Serve's HTTP proxy", kill("proxy")),
    Fault("controller_kill", "SIGKILL of Serve's controller", kill("controller")),
    Fault("everything_kill", "SIGKILL of all processes, then started again", kill_everything, slots=2),
    Fault(
        "stage_pause",
        "SIGSTOP of a stage's replica beyond `stall_s`, then SIGCONT",
        pause(STAGES, 1.2 * STALL_S, 3 * STALL_S),
        slots=1,
        may_fail=LOOP,
    ),
    Fault("orchestrator_pause", "SIGSTOP of the orchestrator, then SIGCONT", pause(("Orchestrator",), 2, 40), slots=2),
    Fault("orchestrator_hang", "SIGSTOP of the orchestrator until Serve has killed it", hang_orchestrator, slots=2),
    Fault("duplicates", "each POST 2 to 8 times at one time", create=ask_twice_and_more),
    Fault("disconnects", "clients go away at a random byte", create=ask_and_go_away),
    Fault("cancels", "cancels at random moments", create=ask_and_cancel, may_fail=frozenset({"cancelled"})),
    Fault("store_503", "object store answers 503", refuse_objects, needs="s3"),
    Fault("sqlite_lock", "SQLite locked by another process", lock_sqlite, needs="sqlite"),
    Fault("postgres_down", "PostgreSQL stopped, then started", stop_postgres, needs="postgres"),
    Fault("disk_full", "no file can grow (RLIMIT_FSIZE)", fill_disk, slots=None, needs="sqlite"),
)
FAULTS = {fault.name: fault for fault in _FAULTS}
