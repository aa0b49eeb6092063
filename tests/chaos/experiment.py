"""One fault against a running service: clients at work, the fault at random moments, then the findings."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from random import Random

from fv_ray.artifact_store import ArtifactStore
from tests.chaos.client import Client, play, wait_for
from tests.chaos.faults import Fault, Stage
from tests.chaos.invariants import Findings, examine

NUM_CLIENTS = 6


@dataclass(frozen=True)
class Result:
    """What came of it."""

    fault: Fault
    num_injected: int
    findings: Findings

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be, in words."""
        wrong, most = self.findings.wrong, self.num_allowed
        if most is not None and self.findings.num_reruns > most:
            wrong = [*wrong, f"{self.findings.num_reruns} runs were made again; allowed are {most}"]
        return wrong

    @property
    def num_allowed(self) -> int | None:
        """How many runs may be made again."""
        return None if self.fault.slots is None else self.num_injected * self.fault.slots


def run(stage: Stage, fault: Fault, *, num_jobs: int, num_injections: int, seed: int) -> Result:
    """Play the jobs to their end, with the fault at moments that the seed draws by how many videos have ended."""
    draws = Random(f"{seed}/{fault.name}")
    client = Client(stage.service.url)
    started_at = time.time()
    with closing(client), ThreadPoolExecutor(NUM_CLIENTS) as pool:
        jobs = [
            pool.submit(play, client, fault.create, Random(f"{seed}/{fault.name}/{n}"), f"{fault.name} {seed}")
            for n in range(num_jobs)
        ]
        if fault.inject is not None:
            for num_ended in sorted(draws.choices(range(max(1, num_jobs * 4 // 5)), k=num_injections)):
                wait_for(client, num_ended, lambda: all(job.done() for job in jobs))
                time.sleep(draws.uniform(0, 1.5))
                at = time.time()
                client.history.injected_at.append(fault.inject(stage, draws) or at)
        for job in jobs:
            job.result()
    store = ArtifactStore.open(stage.service.config.storage_url)
    marks = [mark for mark in stage.service.marks if mark.at >= started_at]
    return Result(
        fault,
        len(client.history.injected_at),
        examine(client.history, stage.service.engine, store, marks, fault.may_fail),
    )
