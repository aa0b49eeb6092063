"""Figures to pictures: bars of the judge's shares, curves, a contact sheet; drawn by matplotlib's Agg and Pillow."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from jobs.evaluation.make_clips import Clips
from jobs.evaluation.score_clips import Share

DPI = 80  # a plot is some 30 KB
LINE_HEIGHT = 16  # pixels of a line of text on the contact sheet
MAX_SHEET_COLOURS = 256

Curve = Mapping[float, float]
"""A value for each setting."""


def draw_shares(path: Path, shares: Mapping[str, Mapping[str, Share]], asked_percent: Mapping[str, float]) -> None:
    """Bars of each kind of clip's shares, by attribute, with a mark where so much is asked for."""
    names = list(next(iter(shares.values())))
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(shares)
    for index, (kind, of_kind) in enumerate(shares.items()):
        places = [place + (index - (len(shares) - 1) / 2) * width for place in range(len(names))]
        axes.bar(places, [of_kind[name].percent for name in names], width, label=kind)
    for place, name in enumerate(names):
        if name in asked_percent:
            axes.hlines(asked_percent[name], place - 0.45, place + 0.45, colors="black", linestyles="dashed")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 105)
    axes.set_ylabel("as the prompt says, %")
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=DPI)


def draw_curves(path: Path, panels: Mapping[str, Mapping[str, Curve]], setting: str) -> None:
    """One panel for each unit, with a curve for each figure, over the values of a setting."""
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for place, (unit, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, curve in curves.items():
            axes.plot(list(curve), list(curve.values()), marker="o", markersize=4, label=name)
        axes.set_xlabel(setting)
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="lower right")  # the best place is searched for, slowly
    figure.savefig(path, dpi=DPI)


def draw_sheet(path: Path, clips: Sequence[Clips]) -> None:
    """The prompts with their pictures, one below the other; those without a picture are left out."""
    shown = [(each.score.prompt, Image.open(io.BytesIO(each.picture_png))) for each in clips if each.picture_png]
    width = max(picture.width for _, picture in shown)
    sheet = Image.new("RGB", (width, sum(picture.height + LINE_HEIGHT for _, picture in shown)), "white")
    top, font = 0, ImageFont.load_default(11)
    for prompt, picture in shown:
        ImageDraw.Draw(sheet).text((2, top + 1), prompt, "black", font)
        sheet.paste(picture, (0, top + LINE_HEIGHT))
        top += picture.height + LINE_HEIGHT
    sheet.quantize(MAX_SHEET_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
