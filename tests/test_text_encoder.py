"""The text encoder: a fixed window, padding that is read, cuts that are told."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import sentencepiece
import torch

from fv_ray.errors import CheckpointError, PromptTooLong
from fv_ray.stage_one import StageOne
from fv_ray.text_encoder import TextEncoder, encode_prompts, load_text_encoder


@pytest.fixture
def text_encoder(stage_one: StageOne) -> TextEncoder:
    assert stage_one.text_encoder is not None
    return stage_one.text_encoder


def test_every_prompt_fills_the_window(text_encoder: TextEncoder) -> None:
    embeds = text_encoder.encode(["a fox", "a red fox runs"])
    assert embeds.shape == (2, text_encoder.max_tokens, text_encoder.embed_dim)
    assert not torch.allclose(embeds[0], embeds[1])
    torch.testing.assert_close(embeds[:1], text_encoder.encode(["a fox"]))


def test_padding_is_attended(text_encoder: TextEncoder) -> None:
    # The same words in a narrower window have other embeddings: nothing masks the padding.
    narrow = TextEncoder(text_encoder._tokenizer, text_encoder._model, max_tokens=8)
    wide, short = text_encoder.encode(["a fox"]), narrow.encode(["a fox"])
    assert not torch.allclose(wide[:, :8], short, atol=1e-4)


def test_a_prompt_that_fits_is_silent(text_encoder: TextEncoder) -> None:
    prompt = " ".join(["fox"] * (text_encoder.max_tokens - 1))  # and the end token
    assert text_encoder.num_tokens_cut(prompt) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_encoder.encode([prompt])


def test_a_cut_is_told_with_its_size(text_encoder: TextEncoder) -> None:
    prompt = " ".join(["fox"] * (text_encoder.max_tokens + 4))
    assert text_encoder.num_tokens_cut(prompt) == 5
    with pytest.warns(PromptTooLong, match="21 tokens long and the text encoder reads 16: the last 5 tokens were cut"):
        embeds = text_encoder.encode([prompt])
    assert embeds.shape[1] == text_encoder.max_tokens


def test_a_tokenizer_of_pieces_knows_every_word(text_encoder: TextEncoder) -> None:
    assert text_encoder.unknown_words("a quixotic fox, qqq") == []


def test_a_checkpoint_without_one(tmp_path: Path) -> None:
    text_encoder = load_text_encoder(tmp_path, 16, device="cpu", dtype=torch.float32)
    assert text_encoder is None
    with pytest.raises(CheckpointError, match="has no text encoder; .* convert again with --text-encoder"):
        encode_prompts(text_encoder, ["a fox"])


def test_a_missing_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    with pytest.raises(CheckpointError, match="the tokenizer in .* cannot be opened .none of tokenizer.json"):
        load_text_encoder(tmp_path, 16, device="cpu", dtype=torch.float32)


def test_a_broken_one(tmp_path: Path, checkpoint: Path) -> None:
    shutil.copytree(checkpoint / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "text_encoder").mkdir()
    with pytest.raises(CheckpointError, match="the text encoder in .* cannot be loaded"):
        load_text_encoder(tmp_path, 16, device="cpu", dtype=torch.float32)


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(checkpoint / part, tmp_path / part)
    return tmp_path


@pytest.mark.parametrize("change", [{"num_layers": 3}, {"d_ff": 64}])
def test_weights_that_are_missing_or_of_another_shape_are_never_filled_in(copied: Path, change: dict[str, int]) -> None:
    file = copied / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match="text_encoder (lacks encoder.block.2|cannot be loaded)"):
        load_text_encoder(copied, 16, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("broken", ["text_encoder/config.json", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("content", ["{}", "[]", "nothing"])
def test_a_file_that_is_broken(copied: Path, broken: str, content: str) -> None:
    (copied / broken).write_text(content)
    with pytest.raises(CheckpointError):
        load_text_encoder(copied, 16, device="cpu", dtype=torch.float32)


def test_a_tokenizer_without_padding(copied: Path) -> None:
    (copied / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="has no padding token"):
        load_text_encoder(copied, 16, device="cpu", dtype=torch.float32)


def test_a_real_sentencepiece_vocabulary(checkpoint: Path, tmp_path: Path) -> None:
    """T5 as it is released has no tokenizer.json, only spiece.model."""
    sentences = ["a red fox runs across a snowy field at dawn", "a blue cat sleeps on a green sofa at night"]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences * 20))
    (tmp_path / "tokenizer").mkdir()
    prefix = tmp_path / "tokenizer" / "spiece"
    options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(prefix), vocab_size=30, **options)
    shutil.copytree(checkpoint / "text_encoder", tmp_path / "text_encoder")
    config = {"tokenizer_class": "T5Tokenizer", "pad_token": "<pad>", "eos_token": "</s>", "extra_ids": 0}
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    text_encoder = load_text_encoder(tmp_path, 64, device="cpu", dtype=torch.float32)
    assert text_encoder is not None
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    for sentence in sentences:
        assert text_encoder._tokenizer(sentence).input_ids == [*pieces.encode(sentence), 1]
    assert text_encoder.encode(sentences).shape == (2, 64, 64)
