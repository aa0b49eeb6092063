"""A sheet of captioned scenes of the procedural world, each at the preview's and at the video's resolution.

python -m examples.show_world PICTURE.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fv_ray.training.procedural.captions import caption
from fv_ray.training.procedural.judge import judge
from fv_ray.training.procedural.render import render_clip
from fv_ray.training.procedural.scene import MOTIONS, SHAPES, TEXTURES, Scene, draw_scene

NUM_FRAMES, LOW, HIGH = 9, (32, 48), (128, 192)
SHOWN = (0, 4, 8)  # frames of the high resolution; of the low one the middle alone
COLUMNS, NUM_SCENES = 2, 12
GAP, TEXT_HEIGHT = 4, 14
TILE_WIDTH = (len(SHOWN) + 1) * (HIGH[1] + GAP)


def main(picture: str) -> None:
    height = HIGH[0] + TEXT_HEIGHT + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * TILE_WIDTH, NUM_SCENES // COLUMNS * height), "white")
    for place, scene in enumerate(varied_scenes()):
        row, column = divmod(place, COLUMNS)
        draw_tile(sheet, scene, column * TILE_WIDTH, row * height)
    # 128 colours are enough for twelve flat scenes, and a fifth of the bytes.
    sheet.quantize(128, dither=Image.Dither.NONE).save(Path(picture), optimize=True)


def varied_scenes() -> list[Scene]:
    """The first scenes that a seed gives in which shapes, motions and textures take turns."""
    scenes: list[Scene] = []
    for seed in range(100_000):
        scene, turn = draw_scene(seed), len(scenes)
        wanted = (SHAPES[turn % 6], MOTIONS[turn % 8], TEXTURES[(turn + turn // 4) % 4])
        if (scene.shape, scene.motion, scene.texture) == wanted and scene.colour not in [s.colour for s in scenes[-4:]]:
            scenes.append(scene)
        if len(scenes) == NUM_SCENES:
            break
    return scenes


def draw_tile(sheet: Image.Image, scene: Scene, left: int, top: int) -> None:
    """The caption; below it the preview's middle frame, enlarged, and three frames of the video."""
    low = render_clip(scene, NUM_FRAMES, *LOW)
    high = render_clip(scene, NUM_FRAMES, *HIGH)

    # The judge reads from pixels what the scene is; of the preview, everything but the texture.
    read = judge(high).agrees(scene.attributes)
    text = caption(scene, seed=1)
    print(f"{text}: {'read back' if all(read.values()) else read}")

    ImageDraw.Draw(sheet).text((left + GAP, top), text, "black", ImageFont.load_default(11))
    enlarged = Image.fromarray(low[NUM_FRAMES // 2]).resize(HIGH[::-1], Image.Resampling.NEAREST)
    frames = [np.asarray(enlarged), *high[list(SHOWN)]]
    for column, frame in enumerate(frames):
        sheet.paste(Image.fromarray(frame), (left + column * (HIGH[1] + GAP), top + TEXT_HEIGHT + GAP))


if __name__ == "__main__":
    main(*sys.argv[1:])
