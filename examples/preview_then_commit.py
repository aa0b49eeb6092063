"""Preview, adjust, commit from Python, and a picture of both stages side by side.

python -m examples.preview_then_commit PICTURE.png [CHECKPOINT]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.text_to_video import TextToVideo
from fv_ray.types import Progress, with_prompt

GAP = 4  # pixels between tiles
COLUMNS = 3


def main(picture: str, checkpoint: str | Path = DEFAULT_MODEL) -> None:
    # Both stages in this process. On a GPU: device="cuda", dtype=torch.bfloat16.
    models = TextToVideo.from_pretrained(checkpoint)

    # A request is complete and frozen: the checkpoint's preset, with anything you change put over it.
    request = models.checkpoint.request("a large purple ring grows on a light background", seed=2)

    # Stage one: seconds at the released size. The preview holds latents, not pictures.
    preview = models.stage_one.generate(request, on_progress=show)
    low = models.stage_one.preview_frames(preview)

    # Look at `low`. If it pleases, commit it; the prompt of stage two may still be edited.
    edited = with_prompt(request, "a large checked purple ring grows on a light background")
    high = models.stage_two.refine(edited, preview, on_progress=show).frames_FHWC

    Image.fromarray(side_by_side(low, high)).save(Path(picture))


def show(progress: Progress) -> None:
    """Told after every step; raising here would cancel."""
    if progress.is_done:
        print(f"{progress.phase}: {progress.seconds:.2f} s")


def side_by_side(low_FHWC: np.ndarray, high_FHWC: np.ndarray) -> np.ndarray:
    """First, middle and last frame of the preview, enlarged without smoothing, above those of the video."""
    height, width = high_FHWC.shape[1:3]
    frames = np.linspace(0, len(high_FHWC) - 1, COLUMNS).round().astype(int)
    sheet = np.full((2 * height + GAP, COLUMNS * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for column, frame in enumerate(frames):
        left = column * (width + GAP)
        enlarged = Image.fromarray(low_FHWC[frame]).resize((width, height), Image.Resampling.NEAREST)
        sheet[:height, left : left + width] = np.asarray(enlarged)
        sheet[height + GAP :, left : left + width] = high_FHWC[frame]
    return sheet


if __name__ == "__main__":
    main(*sys.argv[1:])
