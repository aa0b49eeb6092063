"""The most telling faults, a few times each, against one service; `make chaos` does the rest, and more often."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.experiment import run
from tests.chaos.faults import FAULTS, Stage
from tests.chaos.service import Service


@pytest.fixture(scope="module")
def service(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(small_checkpoint, tmp_path_factory.mktemp("chaos")) as running:
        yield running


@pytest.mark.ray
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "name",
    ["duplicates", "cancels", "stage_kill", "orchestrator_kill", "orchestrator_hang", "stage_pause", "everything_kill"],
)
def test_nothing_is_lost_duplicated_or_corrupted_by(service: Service, name: str) -> None:
    result = run(Stage(service), FAULTS[name], num_jobs=3, num_injections=1, seed=0)
    assert result.num_injected
    assert result.wrong == []
