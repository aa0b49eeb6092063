"""Every reference tensor within its tolerance; docs/parity.md is the table of the same figures."""

from pathlib import Path

import pytest

from fv_ray.text_to_video import TextToVideo
from tests.parity.measure import CASES, load_models, measure


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> TextToVideo:
    return load_models(tmp_path_factory.mktemp("parity") / "checkpoint")


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, models: TextToVideo) -> None:
    rows = measure(name, models)
    assert rows
    for row in rows:
        assert row.difference <= row.tolerance, row


def test_the_table_names_every_case() -> None:
    table = (Path(__file__).parents[2] / "docs" / "parity.md").read_text("utf-8")
    assert [name for name in CASES if f"| {name} |" not in table] == []
