import os
import time
from pathlib import Path

from deployments.config import AppConfig
from deployments.orchestrator import ORPHAN_AGE, remove_expired
from deployments.video_jobs import VideoJobs
from fv_ray.artifact_store import ArtifactStore
from fv_ray.file_store import FileStore
from tests.deployments.batches import a_file
from tests.deployments.videos import Database


def test_a_stored_file_of_no_row_goes_after_a_while(database: Database, tmp_path: Path) -> None:
    root, source = tmp_path / "artifacts", tmp_path / "given.jsonl"
    store, files = ArtifactStore.open(str(root)), FileStore.open(str(root))
    source.write_bytes(b"{}")
    known, lost, new = (files.put(f"file-{name}", source) for name in ("known", "lost", "new"))
    a_file(database, artifact=known)
    long_ago = time.time() - 2 * ORPHAN_AGE.total_seconds()
    for artifact in (known, lost):
        os.utime(root / artifact.path, (long_ago, long_ago))
    remove_expired(AppConfig(), VideoJobs(database.engine, database.client, {}, 1), store, files)
    assert [path for path in (known.path, lost.path, new.path) if (root / path).exists()] == [known.path, new.path]
