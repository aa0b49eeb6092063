"""What a checkpoint folder holds, in lines for people; reads headers, no weights."""

import json
import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fv_ray.checkpoint import PIXELS_PER_TOKEN, TEXT_ENCODER_FOLDER, CheckpointInfo
from fv_ray.errors import CheckpointError
from fv_ray.models.loading import STAGE_ONE_TRANSFORMER, STAGE_TWO_TRANSFORMER, VAE


def describe(folder: str | Path) -> str:
    """What a checkpoint folder holds, in lines for people; reads no weights.

    Raises:
        CheckpointError: for a folder that is none or lacks a part.
    """
    folder = Path(folder)
    info = CheckpointInfo.read(folder)
    one, two = info.stage_one_limits, info.stage_two_limits
    has_text_encoder = (folder / TEXT_ENCODER_FOLDER).is_dir()
    lines = [
        f"{info.name}  {info.digest}",
        f"clips: up to {info.max_frames} frames at {info.fps} fps; stage_one up to {one.max_height}x{one.max_width}; "
        f"stage_two up to {two.max_height}x{two.max_width}; sides are multiples of {PIXELS_PER_TOKEN}",
        f"text: {info.max_prompt_tokens} tokens" + (", no encoder: prompt embeddings alone" * (not has_text_encoder)),
    ]
    parts = [STAGE_ONE_TRANSFORMER, STAGE_TWO_TRANSFORMER, VAE] + [TEXT_ENCODER_FOLDER] * has_text_encoder
    lines += [_describe_part(folder / part) for part in parts]
    for name, preset in info.presets.items():
        lines.append(f"preset {name}{' (default)' if name == info.default_preset else ''}")
        for stage, sampling in preset.model_dump(exclude_defaults=True).items():
            lines.append(f"  {stage}: {', '.join(f'{field} {value}' for field, value in sampling.items())}")
    return "\n".join(lines)


def _describe_part(folder: Path) -> str:
    num_parameters, num_bytes, dtypes = 0, 0, set()
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = config.get("_class_name") or config["architectures"][0]
        paths = list(folder.glob("*.safetensors"))
        if not paths:
            raise CheckpointError(f"{folder} holds no weights; convert the weights again")
        for path in paths:
            num_bytes += path.stat().st_size
            with safe_open(path, framework="pt") as file:
                headers = [file.get_slice(name) for name in file.offset_keys()]
                num_parameters += sum(math.prod(header.get_shape()) for header in headers)
                dtypes |= {header.get_dtype() for header in headers}
    except (OSError, ValueError, LookupError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read ({error!r}); convert the weights again") from error
    return (
        f"{folder.name}: {kind}, {num_parameters:,} parameters, {'/'.join(sorted(dtypes))}, {num_bytes / 1e6:,.1f} MB"
    )
