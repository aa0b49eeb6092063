"""What stage two learns to undo: a contact sheet of the pixel degradations on a clip with fine texture.

python -m examples.show_degradations PICTURE.png
"""

import sys
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fv_ray import pixels
from fv_ray.degradations.draws import Walk, evenly
from fv_ray.degradations.pixel import degrade_clip
from fv_ray.degradations.recipes import FIRST_BLUR, flashvideo, second_order
from fv_ray.degradations.steps import Jpeg, KernelFamily, Noise, Recipe, Shrink, Step, VideoCompression

SIDE, CAPTION, GAP, COLUMNS, NUM_FRAMES = 144, 18, 6, 6, 17  # the first three in pixels

QUIET = Noise(Walk(0, 0), Walk(0, 0), poisson_probability=0, grey_probability=0)  # a range of one value is that value
BLUR = replace(FIRST_BLUR, sizes=evenly(21), families=evenly(KernelFamily("gaussian")), sigma=Walk(1.5, 1.5))
GENERALISED = replace(BLUR, families=evenly(KernelFamily("generalised")))
TILES: dict[str, tuple[Step, ...]] = {
    "original": (),
    "weak, 1/4": (Shrink(Walk(4, 4), evenly("bilinear")),),
    "weak, 1/8": (Shrink(Walk(8, 8), evenly("bilinear")),),
    "strong": flashvideo().strong,
    "strong, another seed": flashvideo().strong,
    "second order, all on": second_order(noise=1, jpeg=1, video_compression=1).strong,
    "Gaussian, sigma 1.5": (BLUR,),
    "anisotropic Gaussian": (replace(BLUR, families=evenly(KernelFamily("gaussian", False)), sigma=Walk(0.2, 3)),),
    "generalised, beta 0.5": (replace(GENERALISED, beta_generalised=Walk(0.5, 0.5)),),
    "generalised, beta 4": (replace(GENERALISED, beta_generalised=Walk(4, 4)),),
    "plateau, beta 1": (replace(BLUR, families=evenly(KernelFamily("plateau")), beta_plateau=Walk(1, 1)),),
    "sinc, cutoff 0.8": (replace(BLUR, families=evenly(KernelFamily("sinc")), omega=Walk(0.8, 0.8)),),
    "Gaussian noise, sigma 20": (replace(QUIET, gaussian_sigma=Walk(20, 20)),),
    "the same in grey": (replace(QUIET, gaussian_sigma=Walk(20, 20), grey_probability=1),),
    "Poisson noise, scale 2": (replace(QUIET, poisson_scale=Walk(2, 2), poisson_probability=1),),
    "JPEG, quality 30": (Jpeg(Walk(30, 30)),),
    "libx264, 0.15 bit/pixel": (VideoCompression(evenly("libx264"), Walk(0.15, 0.15)),),
    "mpeg4, 0.15 bit/pixel": (VideoCompression(evenly("mpeg4"), Walk(0.15, 0.15)),),
}


def main(picture: str) -> None:
    clip = texture()
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, len(TILES) // COLUMNS * (SIDE + CAPTION)), "white")
    for place, (caption, steps) in enumerate(TILES.items()):
        degraded = degrade_clip(clip, Recipe((), steps, 1), torch.Generator().manual_seed(600 + place))
        left, top = place % COLUMNS * (SIDE + GAP), place // COLUMNS * (SIDE + CAPTION)
        ImageDraw.Draw(sheet).text((left, top + 1), caption, "black", ImageFont.load_default(12))
        sheet.paste(Image.fromarray(pixels.to_uint8(degraded)[-1]), (left, top + CAPTION))
    ImageOps.posterize(sheet, 6).save(picture, optimize=True)  # 6 bits a channel: a third less to store


def texture() -> torch.Tensor:
    """A clip (3, F, H, W): finer and finer rings and a check drift to the right; letters stand, hairs wave."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.stack([90 + 0.7 * x, 120 + 0.4 * y, 190 - 0.7 * x], axis=-1)
    squared = (x - 44) ** 2 + (y - 48) ** 2
    image[squared < 40**2] = (127 + 120 * np.cos(squared / 60))[squared < 40**2, None]
    image[12:40, 92:136] = ((np.indices((28, 44)) // 2).sum(0) % 2 * 255)[..., None]
    hairs = np.random.default_rng(0).uniform((0, -14, 15, 20), (SIDE, 14, 45, 235), (200, 4))
    frames = []
    for index in range(NUM_FRAMES):
        drawing = Image.fromarray(np.roll(image, index + 1 - NUM_FRAMES, axis=1).astype(np.uint8))
        draw = ImageDraw.Draw(drawing)
        for root, lean, height, shade in hairs.tolist():
            tip = (root + lean + 6 * np.sin(0.6 * index + root / 20), SIDE - height)
            draw.line((root, SIDE, *tip), (int(shade), int(shade * 0.7), int(shade * 0.4)))
        draw.text((88, 44), "Flash", "black", ImageFont.load_default(20))
        draw.text((88, 70), "small letters", "black", ImageFont.load_default(9))
        frames.append(torch.from_numpy(np.array(drawing)).permute(2, 0, 1) / 127.5 - 1)
    return torch.stack(frames, dim=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
