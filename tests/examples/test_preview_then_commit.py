"""The example runs as its docstring says, and its picture holds both stages."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.preview_then_commit import main


def test_it_runs_and_draws_both_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(str(tmp_path / "picture.png"))
    picture = np.asarray(Image.open(tmp_path / "picture.png"))
    assert picture.shape == (2 * 128 + 4, 3 * 196 - 4, 3)
    assert picture[:128, 392:].std() > 10
    assert picture[132:, 392:].std() > 10
    assert "refine: " in capsys.readouterr().out
