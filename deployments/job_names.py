"""What the rows in DBOS' queues are called, for those who put them there and those who take them out.

A queue has the name of its stage.
"""

from fv_ray.artifact_store import Stage

RUN_STAGE = "run_stage"
"""The workflow; its arguments are a video's id and a stage."""

APPLICATION_VERSION = "1"
"""Of the workflow's code. DBOS gives a workflow only to executors of its version: change it when its steps change."""


def workflow_id(video_id: str, stage: Stage, *, is_first: bool) -> str:
    """A video's first workflow is called as the video is; that of a full video's stage two comes later."""
    return video_id if is_first else f"{video_id}-{stage}"
