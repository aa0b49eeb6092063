"""The actor without Ray: the clips are those that both stages make alone, and scored as they are."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fv_ray.errors import CheckpointError, InputError
from jobs.evaluation.choose_prompts import Prompt, world_prompts
from jobs.evaluation.make_clips import ClipMaker, Making, check, picture
from jobs.evaluation.score_clips import Score, score

pytestmark = pytest.mark.filterwarnings("ignore::fv_ray.errors.PromptTooLong")  # the tiny encoder reads 16 tokens


def test_a_batch_is_scored_as_its_clips_are_alone(small_checkpoint: Path) -> None:
    making = Making(str(small_checkpoint))
    maker = ClipMaker(asdict(making), num_pictures=1)
    prompts = [*world_prompts(1, "held_out", 3), Prompt(1, "a fox " * 10, 4)]
    found = maker({"prompt": np.array([json.dumps(asdict(prompt)) for prompt in prompts])})
    models = making.load()
    for prompt, row in zip(prompts, found["score"], strict=True):
        request = making.request(models.checkpoint, prompt)
        preview = models.stage_one.generate(request)
        alone = score(
            prompt, models.stage_one.preview_frames(preview), models.stage_two.refine(request, preview).frames_FHWC
        )
        told = Score(**json.loads(row))
        assert told.seen == alone.seen
        assert told.figures == pytest.approx(alone.figures, rel=0.02)
    assert [Score(**json.loads(row)).num_tokens_cut > 0 for row in found["score"]] == [False, True]
    assert [bool(data) for data in found["picture"]] == [True, False]


def test_changes_of_the_preset_reach_the_request(small_checkpoint: Path) -> None:
    prompt = Prompt(0, "a fox", 7)
    making = Making(str(small_checkpoint), stage_one={"guidance_scale": 3.0}, stage_two={"noise_level": 500})
    request = making.request(check(making, [prompt]), prompt)
    assert (request.seed, request.stage_one.guidance_scale, request.stage_two.noise_level) == (7, 3.0, 500)


def test_what_cannot_be_made_is_known_before_any_work(small_checkpoint: Path, tmp_path: Path) -> None:
    prompts = world_prompts(1, "held_out", 0)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        check(Making(str(tmp_path)), prompts)
    with pytest.raises(InputError, match="there is no preset 'large'"):
        check(Making(str(small_checkpoint), preset="large"), prompts)
    with pytest.raises(InputError, match="at least 32 x 32 pixels"):
        check(Making(str(small_checkpoint), stage_one={"height": 16}), prompts)
    (tmp_path / "model_index.json").write_bytes((small_checkpoint / "model_index.json").read_bytes())
    with pytest.raises(CheckpointError, match="no text encoder"):
        check(Making(str(tmp_path)), prompts)


def test_a_picture_shows_three_frames_of_each_clip() -> None:
    preview, video = (np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(side, 1) for side in (16, 256))
    preview, video = (clip.repeat(clip.shape[1] * 3 // 2, 2).repeat(3, 3) for clip in (preview, video + 100))
    shown = np.asarray(Image.open(io.BytesIO(picture(preview, video))))
    assert shown.shape == (128, 6 * 192, 3)
    assert shown[64, 96::192, 0].tolist() == [0, 2, 4, 100, 102, 104]
