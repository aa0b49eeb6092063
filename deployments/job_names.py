"""What the rows in DBOS' queues are called, for those who put them there and those who take them out.

The queue of a stage has its name.
"""

from fv_ray.artifact_store import Stage

RUN_STAGE = "run_stage"
"""The workflow: one try. Its arguments are a video's id, a stage, and the number of the attempt that it begins with."""

RUN_BATCH = "run_batch"
"""The workflow: a batch from its input file to its output files. Its argument is the batch's id, which is its name."""

BATCHES = "batches"
"""Their queue."""

APPLICATION_VERSION = "1"
"""Of the workflow's code. DBOS gives a workflow only to executors of its version: change it when its steps change."""


def workflow_id(video_id: str, stage: Stage, number: int) -> str:
    """Of that try, so that DBOS takes one that is put into the queue twice for one."""
    return f"{video_id}-{stage}-{number}"
