"""What killed processes have left in a run's folder, removed."""

from datetime import UTC, datetime, timedelta

from fv_ray.artifact_store import ArtifactStore
from jobs.generation.ask_store import ask
from jobs.generation.mark_rows import RowMarks


def collect_garbage(store: ArtifactStore, marks: RowMarks, orphan_age_s: float) -> int:
    """Remove files that no record names and marks of rows that are done; the number of files.

    Args:
        store: of the run.
        marks: of the run.
        orphan_age_s: how old such a file must be; longer than any commit takes, for another launch may be at one.
    """
    _, begun = marks.read_all()
    for key in begun:
        marks.forget_begun(key)
    return ask(store.sweep, datetime.now(UTC) - timedelta(seconds=orphan_age_s))
