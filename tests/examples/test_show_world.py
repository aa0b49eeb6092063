"""The example runs as its docstring says, its picture is small, and every scene on it is read back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.show_world import NUM_SCENES, main


def test_it_draws_twelve_scenes_that_are_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(str(tmp_path / "picture.png"))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == NUM_SCENES
    assert all(line.endswith(": read back") for line in told)
    assert np.asarray(Image.open(tmp_path / "picture.png").convert("RGB")).shape == (900, 1568, 3)
    assert (tmp_path / "picture.png").stat().st_size < 500_000
