from pathlib import Path

import pytest

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.errors import CheckpointError
from fv_ray.prompts.window import PromptWindow
from fv_ray.training.procedural.rules import enhance, require_known_words

FULL = "a large striped red ball rises on a dark background"


def test_a_full_caption_passes_unless_asked() -> None:
    assert enhance(FULL, 0).outcome == "long_enough"
    assert enhance(FULL, 0, is_forced=True).enhanced_prompt == FULL
    assert enhance("a red ball", 0).outcome == "enhanced"


def test_ten_thousand_words_become_a_caption_that_the_text_encoder_reads_whole() -> None:
    told = enhance("fox \x00 " * 10_000, 0)
    assert told.enhanced_prompt is not None
    assert PromptWindow.read(DEFAULT_MODEL).fits(told.enhanced_prompt)
    assert told.notes[1] == "not used: fox"


def test_only_a_checkpoint_of_these_words_takes_rules(checkpoint: Path) -> None:
    require_known_words(DEFAULT_MODEL)
    with pytest.raises(CheckpointError, match="openai or vllm"):
        require_known_words(checkpoint)
