"""Bulk generation that is killed once; `make chaos-bulk` does it a hundred times."""

import random
from pathlib import Path

import pytest

from tests.chaos.generation import Experiment, check, run_until_done
from tests.object_store import ObjectStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]


def test_a_run_on_a_disk_that_is_killed_is_whole(small_checkpoint: Path, tmp_path: Path) -> None:
    experiment = Experiment(small_checkpoint, f"{tmp_path}/run", 10, 1, random.Random(7))
    run_until_done(experiment, tmp_path)
    assert check(experiment)["kills"] == 1


def test_a_run_on_an_object_store_with_faults_is_whole(small_checkpoint: Path, s3: ObjectStore, tmp_path: Path) -> None:
    experiment = Experiment(small_checkpoint, "s3://bucket/killed", 10, 1, random.Random(0), s3, has_poison=False)
    run_until_done(experiment, tmp_path)
    assert check(experiment)["kills"] == 1
