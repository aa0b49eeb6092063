"""Writes a checkpoint folder from the released files.

The released names are `models.state_dict_adapter`'s matter. Names, shapes and sizes are checked before anything is
written, and the folder appears only when it is whole.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from huggingface_hub import snapshot_download
from pydantic import ValidationError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedTokenizerBase, T5EncoderModel

from fv_ray import presets
from fv_ray.checkpoint import TEXT_ENCODER_FOLDER, CheckpointInfo, SizeLimits, explain
from fv_ray.checkpoint_folder import MAX_SHARD_SIZE, check_agreement, library_and_class, seal
from fv_ray.errors import CheckpointError, InputError
from fv_ray.models.loading import STAGE_ONE_TRANSFORMER, STAGE_TWO_TRANSFORMER, VAE, read_released
from fv_ray.models.state_dict_adapter import (
    ReleasedWeights,
    adapt_stage_one_transformer,
    adapt_stage_two_transformer,
    adapt_vae,
)
from fv_ray.presets import RELEASED_LIMITS, RELEASED_SIZE, SMALL_LIMITS, SMALL_SIZE, ClipSize
from fv_ray.storage import new_directory, require_new, storage_errors
from fv_ray.text_encoder import TOKENIZER_FILES, TOKENIZER_FOLDER, load_t5, open_tokenizer

STAGE_ONE_SCALING_FACTOR = 0.7  # stage1.yaml of the released code
STAGE_TWO_SCALING_FACTOR = 1.15258426  # stage2.yaml
FPS = 8
MAX_PROMPT_TOKENS = 226
_LARGE_HIDDEN_SIZE = 1024  # from here on a model is taken for one of the released size (1920 and 3072)

_HUB_FILES = ["text_encoder/*", "tokenizer/*", "config.json", "model*.safetensors*", "spiece.model", "tokenizer*.json"]


@dataclass(frozen=True, eq=False)
class _TextEncoderSource:
    folder: Path
    embed_dim: int
    tokenizer: PreTrainedTokenizerBase


def convert(
    *,
    stage_one: Path,
    stage_two: Path,
    vae: Path,
    text_encoder: str | Path | None,
    output: Path,
    dtype: torch.dtype = torch.bfloat16,
    size: ClipSize | None = None,
    max_prompt_tokens: int | None = None,
    name: str = "FlashVideo",
    ignored: Collection[str] = (),
    on_part: Callable[[str], None] | None = None,
) -> CheckpointInfo:
    """Write the checkpoint folder `output`; about one model at a time is in memory.

    Args:
        stage_one: The released stage1.pt.
        stage_two: The released stage2.pt.
        vae: The released 3d-vae.pt.
        text_encoder: A folder with text_encoder/ and tokenizer/ or with both in one, or the id of such a repository on
            the Hugging Face hub. None leaves both out: the checkpoint then takes prompt embeddings alone.
        output: A folder that does not exist yet or is empty.
        dtype: Of the weights that are written.
        size: The default size of clips; None chooses by the size of the model.
        max_prompt_tokens: The text encoder's window; None is 226, or what a small model's tokenizer says.
        name: What the checkpoint calls itself.
        ignored: Names of tensors that the released files may hold and no model needs.
        on_part: Called with each part's name before it is converted.

    Raises:
        CheckpointError: for files that are not what they must be or do not belong together.
        InputError: for a size that the model cannot make.
        StorageError: `output` exists or cannot be written; nothing is left behind.
    """
    require_new(output)
    weights = {
        STAGE_ONE_TRANSFORMER: _adapt(stage_one, adapt_stage_one_transformer, ignored),
        STAGE_TWO_TRANSFORMER: _adapt(stage_two, adapt_stage_two_transformer, ignored),
        VAE: _adapt(vae, adapt_vae, ignored),
    }
    source = None if text_encoder is None else _open_text_encoder(text_encoder)
    configs = {part: adapted.config for part, adapted in weights.items()}
    check_agreement(configs | ({TEXT_ENCODER_FOLDER: {"d_model": source.embed_dim}} if source is not None else {}))
    info = _info(weights[STAGE_TWO_TRANSFORMER].config, source, size, max_prompt_tokens, name)
    report = on_part or (lambda _part: None)
    with new_directory(output) as folder, storage_errors(output, SafetensorError):  # which tells of a full disk
        for part, adapted in weights.items():
            report(part)
            _save(adapted, folder / part, dtype, info)
        if source is not None:
            report(TEXT_ENCODER_FOLDER)
            _save_text_encoder(source, folder, dtype)
        components = {part: library_and_class(adapted.model_class) for part, adapted in weights.items()}
        if source is not None:
            components[TEXT_ENCODER_FOLDER] = library_and_class(T5EncoderModel)
            components[TOKENIZER_FOLDER] = library_and_class(type(source.tokenizer))
        return seal(folder, info, components)


def _adapt(
    path: Path, adapt: Callable[[Mapping[str, Any]], ReleasedWeights], ignored: Collection[str]
) -> ReleasedWeights:
    weights = read_released(path)
    for tensors in (weights, *weights.values()):
        if isinstance(tensors, dict):
            for name in ignored:
                tensors.pop(name, None)
    try:
        return adapt(weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _open_text_encoder(source: str | Path) -> _TextEncoderSource:
    try:
        folder = Path(source)
        if isinstance(source, str) and not folder.exists():
            folder = Path(snapshot_download(source, allow_patterns=_HUB_FILES))
        is_split = (folder / TEXT_ENCODER_FOLDER).is_dir()
        model, tokenizer = (folder / TEXT_ENCODER_FOLDER, folder / TOKENIZER_FOLDER) if is_split else (folder, folder)
        if not (model / "config.json").is_file() or not any((tokenizer / file).is_file() for file in TOKENIZER_FILES):
            raise CheckpointError(
                f"{source} is no text encoder: it must hold config.json and one of {', '.join(TOKENIZER_FILES)}, "
                f"or both in {TEXT_ENCODER_FOLDER}/ and {TOKENIZER_FOLDER}/; give a T5 encoder with its tokenizer"
            )
        config = AutoConfig.from_pretrained(model, local_files_only=True)
        if config.model_type != "t5":
            raise CheckpointError(f"{source} is a {config.model_type} model; give a T5 encoder")
        return _TextEncoderSource(model, config.d_model, open_tokenizer(tokenizer))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the text encoder {source} cannot be opened ({error}); give a folder or the id of a hub repository"
        ) from error


def _info(
    config: Mapping[str, Any],
    source: _TextEncoderSource | None,
    size: ClipSize | None,
    max_prompt_tokens: int | None,
    name: str,
) -> CheckpointInfo:
    """The checkpoint's own words but for the digest; `config` is that of stage two's transformer."""
    if max_prompt_tokens is not None and max_prompt_tokens < 1:
        raise InputError(
            f"max_prompt_tokens is {max_prompt_tokens}; it must be 1 or more; leave it out for the default"
        )
    is_large = config["num_attention_heads"] * config["attention_head_dim"] >= _LARGE_HIDDEN_SIZE
    size = size or (RELEASED_SIZE if is_large else SMALL_SIZE)
    window = MAX_PROMPT_TOKENS
    if source is not None and not is_large:
        window = min(window, source.tokenizer.model_max_length)
    try:
        named = {"released": presets.released(size), "paper": presets.paper(size)}
    except ValidationError as error:
        raise InputError(explain(error)) from error
    largest = ClipSize(*map(max, size, RELEASED_LIMITS if is_large else SMALL_LIMITS))
    info = CheckpointInfo(
        name=name,
        digest="",
        fps=FPS,
        max_prompt_tokens=max_prompt_tokens or window,
        stage_one_scaling_factor=STAGE_ONE_SCALING_FACTOR,
        stage_two_scaling_factor=STAGE_TWO_SCALING_FACTOR,
        max_frames=largest.num_frames,
        stage_one_limits=SizeLimits(max_height=largest.stage_one_height, max_width=largest.stage_one_width),
        stage_two_limits=SizeLimits(max_height=largest.stage_two_height, max_width=largest.stage_two_width),
        default_preset="released",
        presets=named,
    )
    info.request("any", seed=0)  # refuses a size that cannot be made
    return info


def _save(weights: ReleasedWeights, folder: Path, dtype: torch.dtype, info: CheckpointInfo) -> None:
    config = weights.config
    if weights.model_class is not AutoencoderKLCogVideoX:
        config = config | {"max_text_seq_length": info.max_prompt_tokens}
    with torch.device("meta"):
        module: Any = weights.model_class(**config)
    state_dict = weights.state_dict(dtype)
    for name, tensor in state_dict.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{folder.name}.{name} holds NaN or infinity; download the released files again")
    module.load_state_dict(state_dict, assign=True)
    module.save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)


def _save_text_encoder(source: _TextEncoderSource, folder: Path, dtype: torch.dtype) -> None:
    source.tokenizer.save_pretrained(folder / TOKENIZER_FOLDER)
    load_t5(source.folder, dtype).save_pretrained(folder / TEXT_ENCODER_FOLDER, max_shard_size=MAX_SHARD_SIZE)
