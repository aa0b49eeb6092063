"""Named sampling parameters: recipes that `fv-ray convert` writes into a checkpoint."""

from typing import NamedTuple

from fv_ray.checkpoint import Preset
from fv_ray.types import StageOneSampling, StageTwoSampling


class ClipSize(NamedTuple):
    """Frames and pixels of a preview and of the video made of it."""

    num_frames: int
    stage_one_height: int
    stage_one_width: int
    stage_two_height: int
    stage_two_width: int


RELEASED_SIZE = ClipSize(49, 256, 480, 1072, 1920)  # 270x480 and 1080x1920 floored to multiples of 16
SMALL_SIZE = ClipSize(17, 32, 48, 128, 192)  # of models that a CPU runs

RELEASED_LIMITS = ClipSize(49, 480, 848, 1440, 2560)  # stage two: the paper's 2K (table 5)
SMALL_LIMITS = ClipSize(49, 128, 192, 512, 768)


def paper(size: ClipSize) -> Preset:
    """The paper: 50 and 4 evaluations (tables 2 and 8) on an even time grid (algorithm 2), no motion prefix.

    Guidance 13 and noise level 675 from tables 9 and 10. The paper gives no guidance of stage one: the released
    configuration's.
    """
    return _preset(size, steps=(50, 4), shift=1.0)


def released(size: ClipSize) -> Preset:
    """The released scripts: 51 and 5 evaluations, time shift 2.5 on a bfloat16 grid, a motion prefix in stage two."""
    return _preset(size, steps=(51, 5), shift=2.5, grid_dtype="bfloat16", stage_two_prefix="medium motion,")


def small(size: ClipSize) -> Preset:
    """A model that is trained from nothing on short clips: fewer steps, little guidance, an even time grid, no prefix.

    Noise level 500: the fewer frames, the less they tell of each other (the paper's 17 frames, section 6.1).
    """
    return _preset(size, steps=(20, 4), shift=1.0, guidance=(4.0, 1.5), noise_level=500)


def _preset(
    size: ClipSize,
    *,
    steps: tuple[int, int],
    shift: float,
    guidance: tuple[float, float] = (8.0, 13.0),
    noise_level: int = 675,
    grid_dtype: str = "float32",
    stage_two_prefix: str = "",
) -> Preset:
    return Preset(
        stage_one=StageOneSampling(
            num_inference_steps=steps[0],
            guidance_scale=guidance[0],
            num_frames=size.num_frames,
            height=size.stage_one_height,
            width=size.stage_one_width,
        ),
        stage_two=StageTwoSampling.model_validate(
            {
                "num_inference_steps": steps[1],
                "guidance_scale": guidance[1],
                "height": size.stage_two_height,
                "width": size.stage_two_width,
                "shift": shift,
                "noise_level": noise_level,
                "grid_dtype": grid_dtype,
                "prompt_prefix": stage_two_prefix,
            }
        ),
    )
