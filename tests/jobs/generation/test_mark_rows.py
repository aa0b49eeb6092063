import os
from pathlib import Path

import pytest

from fv_ray.blobs import open_blobs
from jobs.generation.mark_rows import RowMarks
from tests.artifact_writer import key


def test_a_row_at_hand_is_marked_without_a_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = RowMarks(open_blobs(str(tmp_path)))
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("the disk was waited for"))
    with marks.begun(key(1), "stage_one"), marks.begun(key(1), "stage_two"):
        assert marks.read_all() == (set(), {key(1): 2})
    assert marks.read_all() == (set(), {})
