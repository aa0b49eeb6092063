"""Tiny real components: a checkpoint folder that a CPU runs in seconds, the same bytes in every run.

The transformers and the autoencoder are those of the golden data, the text encoder is a random T5.

    python -m tests.tiny FOLDER        make a checkpoint folder; does nothing where there is one
"""

import argparse
import copy
import json
import shutil
import string
import tempfile
from itertools import product
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from fv_ray.checkpoint import INDEX_FILE, CheckpointInfo
from fv_ray.conversion import convert

RELEASED = Path(__file__).parent / "parity" / "golden" / "checkpoints"
EMBED_DIM = 64  # of the golden transformers
MAX_TOKENS = 16

_LETTERS = string.ascii_lowercase + string.digits
_WORDS = ["<pad>", "</s>", "<unk>", *_LETTERS, *map("".join, product(_LETTERS, repeat=2))]


def make_checkpoint(folder: Path, dtype: torch.dtype = torch.float32) -> CheckpointInfo:
    """Convert the golden weights, with a tiny text encoder, to a checkpoint folder."""
    with tempfile.TemporaryDirectory() as text_encoder:
        make_text_encoder(Path(text_encoder))
        return convert(
            stage_one=RELEASED / "stage1.pt",
            stage_two=RELEASED / "stage2.pt",
            vae=RELEASED / "3d-vae.pt",
            text_encoder=text_encoder,
            output=folder,
            dtype=dtype,
            name="tiny",
        )


def make_small_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Copy a tiny checkpoint, with a default preset of the smallest clips that the judge reads."""
    shutil.copytree(checkpoint, folder)
    index = json.loads((folder / INDEX_FILE).read_text())
    preset = copy.deepcopy(index["fv_ray"]["presets"]["paper"])
    preset["stage_one"] |= {"num_inference_steps": 2, "num_frames": 5, "height": 32, "width": 32}
    preset["stage_two"] |= {"num_inference_steps": 2, "height": 64, "width": 64, "guidance_scale": 2.0}
    index["fv_ray"] |= {"default_preset": "small", "presets": {"small": preset}}
    (folder / INDEX_FILE).write_text(json.dumps(index))


def make_text_encoder(folder: Path, embed_dim: int = EMBED_DIM, max_tokens: int = MAX_TOKENS) -> None:
    """Write a random T5 encoder to `folder`/text_encoder and its tokenizer to `folder`/tokenizer."""
    make_tokenizer(max_tokens).save_pretrained(folder / "tokenizer")
    config = T5Config(vocab_size=len(_WORDS), d_model=embed_dim, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5EncoderModel(config).save_pretrained(folder / "text_encoder")


def make_tokenizer(max_tokens: int = MAX_TOKENS) -> PreTrainedTokenizerFast:
    """A tokenizer that knows a word by its first two letters, so that most prompts differ; one token a word."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(_WORDS)}, unk_token="<unk>"))
    shortened = normalizers.Replace(Regex(r"(?<=\w\w)\w+"), "")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), shortened])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=max_tokens,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a tiny checkpoint folder.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not (folder / INDEX_FILE).exists():
        make_checkpoint(folder)


if __name__ == "__main__":
    main()
