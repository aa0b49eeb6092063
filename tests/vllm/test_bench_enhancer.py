from pathlib import Path

import pytest

pytest.importorskip("vllm")

from tests.benchmarks.tables import output_of, rows_of
from tests.vllm.conftest import PATIENCE_S


@pytest.mark.ray
@pytest.mark.timeout(3 * PATIENCE_S)
def test_both_ways_have_a_row(ray_with_vllm: None, chat_model: Path, prompt_checkpoint: Path) -> None:  # noqa: ARG001
    from benchmarks.bench_enhancer import HEAD, WAYS, main  # it needs Ray

    output = output_of(main, str(chat_model), "--checkpoint", str(prompt_checkpoint), "--prompts", "3")
    rows = rows_of(output)
    assert tuple(rows[0]) == HEAD
    assert [row[""] for row in rows] == list(WAYS)
    assert [row["enhanced"] for row in rows] == ["3", "3"]
