"""What an actor's caller is told when the actor's node goes silent: `python -m tests.deployments.frozen_node`.

In a process of its own, which has no part in the tests' Ray. Prints how the attempt ends.
"""

from __future__ import annotations

import asyncio
import os

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

import psutil
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError

from deployments.attempt_ending import ending_of
from fv_ray.temporary_folder import own_temporary_folder

STORE_BYTES = 80 * 2**20


@ray.remote(num_cpus=1)
class Sleeper:
    async def ready(self) -> None:
        pass

    async def sleep(self) -> None:
        await asyncio.sleep(600)


def main() -> None:
    noticing = {"health_check_period_ms": 500, "health_check_timeout_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster()
    cluster.add_node(num_cpus=0, object_store_memory=STORE_BYTES, _system_config=noticing)
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    ray.init(cluster.address, configure_logging=False, log_to_driver=False)
    sleeper = Sleeper.remote()
    ray.get(sleeper.ready.remote())
    sleeping = sleeper.sleep.remote()
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    frozen = [raylet, *raylet.children(recursive=True)]
    for process in frozen:
        process.suspend()  # its connections stay open: only the missing heartbeats tell
    try:
        ray.get(sleeping)
    except ActorDiedError as error:
        print(ending_of(error, num_counted=0, kind="full").outcome)
    finally:
        for process in frozen:
            process.kill()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    with own_temporary_folder():
        main()
