from pathlib import Path

import pytest
from transformers import AutoTokenizer

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.errors import CheckpointError
from fv_ray.prompts.window import PromptWindow
from tests.prompt_checkpoint import make_prompt_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prompt_checkpoint(tmp_path_factory.mktemp("window"))


@pytest.mark.parametrize("text", ["", "a red fox", "ein Fuchs, 3 Hunde!", "word " * 300])
@pytest.mark.parametrize("which", ["tiny", "default"])
def test_it_counts_as_the_text_encoder_does(folder: Path, which: str, text: str) -> None:
    checkpoint = folder if which == "tiny" else DEFAULT_MODEL
    tokenizer = AutoTokenizer.from_pretrained(checkpoint / "tokenizer", local_files_only=True)
    assert PromptWindow.read(checkpoint).count(text) == len(tokenizer(text, truncation=False, verbose=False).input_ids)


def test_a_prefix_of_a_preset_takes_its_tokens(folder: Path) -> None:
    """The released preset puts "medium motion," before stage two's prompt: three tokens here."""
    window = PromptWindow.read(folder)
    assert window.max_tokens == 226 - 3
    assert window.fits("word " * 222)
    assert not window.fits("word " * 223)


def test_whole_sentences_are_left_out(folder: Path) -> None:
    window = PromptWindow(max_tokens=7, count=PromptWindow.read(folder).count)
    assert window.shortened("A b c. D e.") == "A b c."
    assert window.shortened("A b c.") == "A b c."
    assert window.shortened("A b c d e f g h.") == ""


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_bytes((folder / "model_index.json").read_bytes())
    with pytest.raises(CheckpointError, match="counted in its tokens"):
        PromptWindow.read(tmp_path)
