"""A tiny real chat model in a second: a Qwen2 that answers with the same words, whatever it is asked.

Asked of something with "sorry" in it, it would decline in plain English, which a schema forbids.

Each token's row in the head points to the embedding of the token before it in the answer, and all layers are zero: so
the model walks through the answer. Its tokenizer is byte-level, with a token for each piece of the answer.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from fv_ray.prompts.messages import messages_for

CAPTION = (
    "A red fox with a white tip on its tail runs across a wide field of fresh snow early in the morning. Its "
    "paws throw up small clouds of powder, and its breath hangs in the cold air. Bare birch trees stand at the "
    "edge of the field. The low sun shines from the left, and the camera follows the fox at the height of its "
    "back."
)
ANSWER = {"caption": CAPTION, "motion": "high", "subjects": ["red fox"], "language": "en"}

DECLINED = "I am sorry, but there is nothing that I can do for you today."

TURN, END = "<|turn|>", "<|end|>"
ANSWERS = {"<|answer|>": json.dumps(ANSWER, separators=(",", ":")), "<|decline|>": DECLINED}
"""By the token that begins them."""
QUESTION = len(messages_for("", 226)) - 1
TEMPLATE = (
    "{% for message in messages %}" + TURN + "{{ message['role'] }}\n{{ message['content'] }}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}"
    + TURN
    + "assistant\n{{ '<|decline|>' if 'sorry' in messages[QUESTION]['content'] else '<|answer|>' }}{% endif %}"
)


def make_chat_model(folder: Path) -> Path:
    """Write it to `folder`."""
    walks = {begin: _pieces(text) for begin, text in ANSWERS.items()}
    tokenizer = _tokenizer([piece for pieces in walks.values() for piece in pieces])
    torch.manual_seed(0)
    hidden = 256
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = model.model.embed_tokens.weight.normal_()
        model.lm_head.weight.normal_(std=0.01)
        for begin, pieces in walks.items():
            for token, follower in pairwise(tokenizer.convert_tokens_to_ids([begin, *pieces, END])):
                model.lm_head.weight[follower] += embedding[token]
    model.save_pretrained(folder)
    tokenizer.chat_template = TEMPLATE.replace("QUESTION", str(QUESTION))
    tokenizer.save_pretrained(folder)
    return folder


def _pieces(text: str) -> list[str]:
    """The answer in pieces, none of them twice."""
    words, pieces = text.split(" "), list[str]()
    for at in range(0, len(words), 4):
        pieces.append(" ".join(words[at : at + 4]) + (" " if at + 4 < len(words) else ""))
    assert len(set(pieces)) == len(pieces)
    return pieces


def _tokenizer(pieces: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [message["content"] for message in messages_for("a red fox", 226)]
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([TURN, END, *ANSWERS])
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
