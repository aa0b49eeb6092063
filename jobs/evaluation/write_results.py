"""What was measured of a checkpoint to the page of results, in Markdown, with its plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fv_ray.training.procedural.scene import ATTRIBUTES
from jobs.evaluation.draw_report import Curve, draw_curves, draw_shares
from jobs.evaluation.score_clips import FIGURES, KINDS, Score, means, share, shares
from jobs.evaluation.sweep_stages import NUM_STRAIGHTNESS_EVALUATIONS, Record, curves

ASKED_PERCENT = {"colour": 95.0, "motion": 95.0, "background": 95.0, "shape": 90.0, "texture": 90.0}
"""By attribute, of final videos."""
ASKED_DB = 3.0
"""How much nearer to the truth stage two is to be than bilinear upsampling."""


@dataclass(frozen=True)
class Results:
    """All that was measured."""

    command: str
    name: str
    digest: str
    sizes: str
    scores: Sequence[Score]
    """Of the final videos."""
    num_sweep_prompts: int
    records: Sequence[Record]
    straightness_from_noise: Sequence[Record]
    """Empty where no such checkpoint was given."""
    ablations: Mapping[str, tuple[str, Sequence[Score]]]
    """By name, a checkpoint's digest and its scores."""
    cpu_seconds: Mapping[str, float]
    """Of a video in two stages, by phase."""
    flops: Mapping[str, float]
    single_stage_flops: Mapping[str, float]
    single_stage_cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """Empty where no such checkpoint was given."""
    num_cost_videos: int = 1


def write_results(results: Results, images: Path, link: str) -> str:
    """Draw the plots into a folder and give the page.

    Args:
        results: what was measured.
        images: a folder; `results_*.png` in it are written.
        link: that folder, as the page calls it.
    """
    sections = (
        _head(results),
        _judge_section(results, images, link),
        _upsampling_section(results),
        _evaluations_section(results, images, link),
        _parameters_section(results, images, link),
        _straightness_section(results, images, link),
        _ablations_section(results),
        _cost_section(results),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table's lines: the first column to the left, the others to the right."""
    rule = [":--"] + ["--:"] * (len(head) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _head(results: Results) -> list[str]:
    return [
        f"# Results of {results.name}",
        "",
        "Written by a command, on scenes of the [procedural world](procedural.md) that no training clip shows.",
        "",
        f"- checkpoint: `{results.digest}`",
        f"- clips: {results.sizes}",
        f"- prompts: {len(results.scores)} for the judge, {results.num_sweep_prompts} for everything that is swept",
        f"- command: `{results.command}`",
    ]


def _judge_section(results: Results, images: Path, link: str) -> list[str]:
    found = {kind: shares(results.scores, kind) for kind in KINDS}
    draw_shares(images / "results_judge.png", found, ASKED_PERCENT)
    rows = []
    for name, of_video in found["video"].items():
        asked = ASKED_PERCENT.get(name)
        met = "–" if asked is None else f"{asked:.0f} %, {'met' if of_video.percent >= asked else 'not met'}"
        rows.append([name, str(found["preview"][name]), str(of_video), met])
    plain = share([each.expected["texture"] == "plain" for each in results.scores])
    return [
        "## Does the video show what the prompt says?",
        "",
        *table(("judge", "preview", "video", "asked for of the video"), rows),
        "",
        "What a caption leaves open is not counted. At the preview's size every texture looks plain: chance there, and "
        f"the share of plain prompts, is {plain}.",
        "",
        f"![the judge's shares]({link}/results_judge.png)",
    ]


def _upsampling_section(results: Results) -> list[str]:
    at = {name: curve[0] for name, curve in curves(results.records, "upsampling").items()}
    ways = {
        "autoencoder": "the true clip, through the autoencoder (ceiling)",
        "stage_two": "stage two",
        "bilinear": "bilinear upsampling",
    }
    gain_db = at["stage_two_psnr"] - at["bilinear_psnr"]
    rows = [
        [told, f"{at[f'{way}_psnr']:.2f} dB", f"{at[f'{way}_ssim']:.3f}", f"{100 * at[f'{way}_texture']:.1f} %"]
        for way, told in ways.items()
    ]
    return [
        "## What does stage two add to its input?",
        "",
        "True clips at the preview's size, encoded as previews are, then enlarged in two ways and compared with the "
        "true clips at the video's size.",
        "",
        *table(("against the true clip", "PSNR", "SSIM", "texture"), rows),
        "",
        f"Stage two over bilinear: {gain_db:+.2f} dB; asked for +{ASKED_DB:.0f} dB, "
        f"{'met' if gain_db >= ASKED_DB else 'not met'}.",
    ]


def _evaluations_section(results: Results, images: Path, link: str) -> list[str]:
    found = curves(results.records, "evaluations")
    draw_curves(images / "results_evaluations.png", _panels(found), "evaluations of stage two")
    return [
        "## How many evaluations does stage two need?",
        "",
        "The same true previews, each with the default's other parameters.",
        "",
        *_curve_table("evaluations", found),
        "",
        f"![quality by evaluations]({link}/results_evaluations.png)",
    ]


def _parameters_section(results: Results, images: Path, link: str) -> list[str]:
    lines = ["## Guidance and noise level"]
    studies = {
        "stage_one_guidance": ("stage-one guidance", "Previews of the prompts, as the judge reads them."),
        "stage_two_guidance": ("stage-two guidance", "Videos of true previews."),
        "noise_level": ("noise level", "Videos of true previews."),
    }
    for study, (title, of) in studies.items():
        found = curves(results.records, study)
        draw_curves(images / f"results_{study}.png", _panels(found), title)
        lines += [
            "",
            f"### {title[0].upper()}{title[1:]}",
            "",
            of,
            "",
            *_curve_table(title, found),
            "",
            f"Best: {'; '.join(f'{name} at {_peak(curve)}' for name, curve in _ordered(found).items())}.",
            "",
            f"![quality by {title}]({link}/results_{study}.png)",
        ]
    return lines


def _straightness_section(results: Results, images: Path, link: str) -> list[str]:
    models = {"from the preview": results.records, "from noise": results.straightness_from_noise}
    found = {name: curves(records, "straightness").get("degrees", {}) for name, records in models.items()}
    found = {name: curve for name, curve in found.items() if curve}
    draw_curves(images / "results_straightness.png", {"degrees": found}, "between an evaluation and the next")
    rows = [
        [name, f"{sum(curve.values()) / len(curve):.1f}", f"{max(curve.values()):.1f}"] for name, curve in found.items()
    ]
    lines = [
        "## How straight is stage two's path?",
        "",
        f"The angle in degrees between successive guided velocities, {NUM_STRAIGHTNESS_EVALUATIONS} evaluations; 0 is "
        "straight.",
        "",
        *table(("flow", "mean angle", "largest mean of a step"), rows),
        "",
    ]
    if "from noise" not in found:
        lines += ["No checkpoint that starts from noise was given (`--from-noise-checkpoint`).", ""]
    return [*lines, f"![angles along the path]({link}/results_straightness.png)"]


def _ablations_section(results: Results) -> list[str]:
    lines = ["## Degradations", ""]
    if not results.ablations:
        return [*lines, "No checkpoints with other degradations were given (`--ablation NAME=CHECKPOINT`)."]
    compared = {"this checkpoint": (results.digest, results.scores), **results.ablations}
    rows = []
    for name, (digest, scores) in compared.items():
        of_video, mean = shares(scores, "video"), means(scores)
        cells = [f"{of_video[attribute].percent:.1f} %" for attribute in ATTRIBUTES]
        rows.append(
            [f"{name} (`{digest[:15]}`)", *cells, *(f"{mean[figure]:.3f}" for figure in FIGURES if figure in mean)]
        )
    told = [figure.replace("_", " ") for figure in FIGURES if figure in means(results.scores)]
    return [
        *lines,
        "Videos of the checkpoints' own previews.",
        "",
        *table(("trained with", *ATTRIBUTES, *told), rows),
        "",
        *(f"- {figure.replace('_', ' ')}: {meaning}" for figure, meaning in FIGURES.items()),
    ]


def _cost_section(results: Results) -> list[str]:
    two_s, one_s = sum(results.cpu_seconds.values()), sum(results.single_stage_cpu_seconds.values())
    two_flops, one_flops = sum(results.flops.values()), sum(results.single_stage_flops.values())
    phases = dict.fromkeys([*results.cpu_seconds, *results.single_stage_cpu_seconds, *results.flops])
    if not one_s:
        phases |= dict.fromkeys(results.single_stage_flops)
    seconds = {**results.cpu_seconds, **results.single_stage_cpu_seconds}
    flops = {**results.flops, **results.single_stage_flops}
    rows = [
        [name, f"{seconds[name]:.3f}" if name in seconds else "–", f"{flops[name] / 1e9:.2f}" if name in flops else "–"]
        for name in phases
    ]
    rows += [
        ["**two stages**", f"**{two_s:.3f}**", f"**{two_flops / 1e9:.2f}**"],
        ["**single stage**", f"**{one_s:.3f}**" if one_s else "–", f"**{one_flops / 1e9:.2f}**"],
    ]
    counted = (
        f"A single stage takes {one_flops / two_flops:.2f} times the operations of both stages. That is counted, not "
        "run: stage one's transformer, which is of this size for previews, with as many evaluations at the video's "
        "size. It says nothing of how good such a video would be: no model of that kind was trained for it."
    )
    measured = (
        f"The single-stage checkpoint takes {one_s / two_s:.2f} times the CPU time of both stages. That is run; how "
        "good its videos are is not judged here."
        if one_s
        else ""
    )
    return [
        "## What does a video cost?",
        "",
        f"One video at a time, the mean of {results.num_cost_videos}; CPU seconds are the process's own, so that a "
        "machine's other load does not count. Without loading and mp4.",
        "",
        *table(("phase", "CPU s", "counted GFLOP"), rows),
        "",
        measured or counted,
    ]


def _panels(found: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """dB apart from shares, which are drawn as percentages."""
    judged = {name: {at: 100 * value for at, value in found[name].items()} for name in ATTRIBUTES if name in found}
    panels: dict[str, dict[str, Curve]] = {"as the prompt says, %": {**judged}}
    return {"PSNR, dB": {"PSNR": found["psnr"]}, **panels} if "psnr" in found else panels


def _ordered(found: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name: found[name] for name in ("psnr", *ATTRIBUTES) if name in found}


def _curve_table(setting: str, found: Mapping[str, Curve]) -> list[str]:
    ordered = _ordered(found)
    settings = sorted({at for curve in ordered.values() for at in curve})
    rows = [[f"{at:g}", *(_told(name, curve[at]) for name, curve in ordered.items())] for at in settings]
    return table((setting, *("PSNR" if name == "psnr" else name for name in ordered)), rows)


def _told(name: str, value: float) -> str:
    return f"{value:.2f} dB" if name == "psnr" else f"{100 * value:.1f} %"


def _peak(curve: Curve) -> str:
    """The settings with the best value, as few shares have many."""
    best = max(curve.values())
    return " and ".join(f"{at:g}" for at, value in curve.items() if value == best)
