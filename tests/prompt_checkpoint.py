"""A checkpoint folder's description and tokenizer alone, which is all that an enhancer reads of it."""

from __future__ import annotations

import json
from pathlib import Path

from fv_ray.checkpoint import INDEX_FILE, CheckpointInfo, SizeLimits
from fv_ray.presets import RELEASED_LIMITS, RELEASED_SIZE, paper, released
from tests.tiny import make_tokenizer


def make_prompt_checkpoint(folder: Path, max_tokens: int = 226) -> Path:
    """Of a window as wide as the released model's; a token is a word here."""
    _, *sides = RELEASED_LIMITS
    info = CheckpointInfo(
        name="tiny",
        digest="sha256:0",
        fps=8,
        max_prompt_tokens=max_tokens,
        stage_one_scaling_factor=0.7,
        stage_two_scaling_factor=1.15,
        max_frames=RELEASED_LIMITS.num_frames,
        stage_one_limits=SizeLimits(max_height=sides[0], max_width=sides[1]),
        stage_two_limits=SizeLimits(max_height=sides[2], max_width=sides[3]),
        default_preset="released",
        presets={"released": released(RELEASED_SIZE), "paper": paper(RELEASED_SIZE)},
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX_FILE).write_text(json.dumps({"fv_ray": info.model_dump(mode="json")}))
    make_tokenizer(max_tokens).save_pretrained(folder / "tokenizer")
    return folder
