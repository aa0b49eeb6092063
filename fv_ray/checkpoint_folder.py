"""Writes checkpoint folders: their table of components, their digest, and a new one from the parts of others.

The parts' weights and names are their writers' matter: here they are files and configurations.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from transformers import T5EncoderModel

from fv_ray.checkpoint import INDEX_FILE, TEXT_ENCODER_FOLDER, CheckpointInfo, Preset, explain
from fv_ray.errors import CheckpointError, InputError
from fv_ray.models.loading import STAGE_ONE_TRANSFORMER, STAGE_TWO_TRANSFORMER, VAE, load_part
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel
from fv_ray.storage import new_directory, require_new, storage_errors
from fv_ray.text_encoder import TOKENIZER_FOLDER, load_t5, open_tokenizer

MAX_SHARD_SIZE = "5GB"

_MODEL_CLASSES: Mapping[str, type[Any]] = {
    STAGE_ONE_TRANSFORMER: StageOneTransformer3DModel,
    STAGE_TWO_TRANSFORMER: StageTwoTransformer3DModel,
    VAE: AutoencoderKLCogVideoX,
    TEXT_ENCODER_FOLDER: T5EncoderModel,
}
_CONFIG_FIELDS = {
    STAGE_ONE_TRANSFORMER: ("text_embed_dim", "in_channels", "out_channels"),
    STAGE_TWO_TRANSFORMER: ("text_embed_dim", "in_channels", "out_channels"),
    VAE: ("latent_channels", "scaling_factor"),
    TEXT_ENCODER_FOLDER: ("d_model", "vocab_size"),
}
_CONFIG_FILE = "config.json"
_PART_FILES = ("*.safetensors", "*.safetensors.index.json", _CONFIG_FILE)


def replace_parts(
    base: Path,
    output: Path,
    parts: Mapping[str, Path],
    *,
    name: str | None = None,
    presets: Mapping[str, Preset] | None = None,
    default_preset: str | None = None,
    dtype: torch.dtype | None = None,
) -> CheckpointInfo:
    """Write the checkpoint folder `output`, which is `base` but for some parts.

    A new autoencoder brings the scale of its latents along: the `scaling_factor` of its configuration becomes that of
    both stages.

    Args:
        base: A checkpoint folder. What is taken from it is linked where the filesystem allows, not copied, so neither
            folder's files may be changed in place.
        output: A folder that does not exist yet or is empty.
        parts: Folders that `save_pretrained` wrote, by the name of the part: vae, stage_one_transformer,
            stage_two_transformer, text_encoder (which keeps the tokenizer of `base`).
        name: What the checkpoint calls itself; None as `base`.
        presets: All of them; None as `base`.
        default_preset: One of `presets`; None as `base`.
        dtype: Of all weights; None leaves each as it is.

    Raises:
        CheckpointError: for parts that are not what they must be or do not belong together.
        InputError: for a part that a checkpoint does not have, or for words that it cannot say of itself.
        StorageError: `output` exists or cannot be written; nothing is left behind.
    """
    require_new(output)
    info = CheckpointInfo.read(base)
    components = _components(base)
    _check_names(parts, components, base)
    folders = {part: Path(parts.get(part, base / part)) for part in _MODEL_CLASSES if part in components}
    configs = {part: _read_config(part, folder) for part, folder in folders.items()}
    check_agreement(configs)
    if TEXT_ENCODER_FOLDER in configs:
        _check_vocabulary(configs[TEXT_ENCODER_FOLDER], base / TOKENIZER_FOLDER)
    changes: dict[str, Any] = {"name": name, "presets": presets, "default_preset": default_preset}
    if VAE in parts:
        changes |= dict.fromkeys(
            ("stage_one_scaling_factor", "stage_two_scaling_factor"), configs[VAE]["scaling_factor"]
        )
    info = _changed(info, {field: value for field, value in changes.items() if value is not None})
    with new_directory(output) as folder, storage_errors(output, SafetensorError):
        for part, source in folders.items():
            if dtype is None:
                _copy(source, folder / part, shutil.copyfile if part in parts else _link_or_copy)
            else:
                _cast(part, source, folder / part, dtype)
            _forget_origin(folder / part / _CONFIG_FILE)
        if TOKENIZER_FOLDER in components:
            shutil.copytree(base / TOKENIZER_FOLDER, folder / TOKENIZER_FOLDER, copy_function=_link_or_copy)
        return seal(folder, info, components)


def seal(folder: Path, info: CheckpointInfo, components: Mapping[str, list[str]]) -> CheckpointInfo:
    """Write `model_index.json` beside parts that are all there; the checkpoint's words, with its digest.

    Args:
        folder: Holds a folder for each of `components`.
        info: What the checkpoint says of itself; its digest is put in.
        components: The `library_and_class` of each part.
    """
    info = info.model_copy(update={"digest": _digest(folder, info)})
    index = {
        "_class_name": "TextToVideo",
        "_diffusers_version": diffusers.__version__,
        **components,
        "fv_ray": info.model_dump(mode="json"),
    }
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return info


def library_and_class(component: type[object]) -> list[str]:
    """What diffusers' component table says of a part."""
    library = component.__module__
    return [library if library.startswith("fv_ray.") else library.partition(".")[0], component.__name__]


def check_agreement(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse parts of different sizes; `configs` are theirs by name, the text encoder's may be missing.

    Raises:
        CheckpointError: naming each part's size.
    """
    one, two, vae = configs[STAGE_ONE_TRANSFORMER], configs[STAGE_TWO_TRANSFORMER], configs[VAE]
    embed_dims = {"stage one": one["text_embed_dim"], "stage two": two["text_embed_dim"]}
    if TEXT_ENCODER_FOLDER in configs:
        embed_dims["the text encoder"] = configs[TEXT_ENCODER_FOLDER]["d_model"]
    channels = {
        "stage one in": one["in_channels"],
        "stage one out": one["out_channels"],
        "stage two in": two["in_channels"],
        "stage two out": two["out_channels"],
        "the autoencoder": vae["latent_channels"],
    }
    for what, sizes in (("prompt embedding sizes", embed_dims), ("latent channels", channels)):
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{owner} {size}" for owner, size in sizes.items())
            raise CheckpointError(f"the {what} differ: {told}; they must be equal; give files that belong together")


def _components(base: Path) -> dict[str, list[str]]:
    index = json.loads((base / INDEX_FILE).read_text("utf-8"))
    return {part: told for part, told in index.items() if not part.startswith("_") and part != "fv_ray"}


def _check_names(parts: Mapping[str, Path], components: Mapping[str, object], base: Path) -> None:
    for part in parts:
        if part not in _MODEL_CLASSES:
            raise InputError(
                f"there is no part {part!r}; a checkpoint has {', '.join(_MODEL_CLASSES)}; give one of them"
            )
        if part not in components:
            raise CheckpointError(
                f"{base} has no {part} and no tokenizer for one; a part can be replaced, not added; give a base that "
                "has it"
            )


def _read_config(part: str, folder: Path) -> dict[str, Any]:
    """A part's configuration, once its class and the headers of its weights have been looked at."""
    advice = f"give a folder that a {part}'s save_pretrained wrote"
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG_FILE).read_text("utf-8"))
        lacking = [field for field in _CONFIG_FIELDS[part] if field not in config]
        found = config.get("_class_name") or "".join(config.get("architectures") or [])
        paths = sorted(folder.glob("*.safetensors"))
        for path in paths:
            with safe_open(path, framework="pt"):
                pass  # it has read the header and compared the file's length with it
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"the {part} in {folder} cannot be read ({error}); {advice}") from error
    wanted = _MODEL_CLASSES[part].__name__
    if found != wanted or not paths:
        held = f"a {found or 'model without a name'}" if paths else "no safetensors"
        raise CheckpointError(f"{folder} holds {held}; the {part} is a {wanted} in safetensors; {advice}")
    if lacking:
        raise CheckpointError(f"{folder / _CONFIG_FILE} lacks {lacking[0]}; a {part} must say it; {advice}")
    return config


def _check_vocabulary(config: Mapping[str, Any], tokenizer: Path) -> None:
    num_tokens = len(open_tokenizer(tokenizer))
    if config["vocab_size"] < num_tokens:
        raise CheckpointError(
            f"the text encoder knows {config['vocab_size']} tokens and the tokenizer {num_tokens}; it must know all of "
            "them; give the text encoder that belongs to this tokenizer"
        )


def _changed(info: CheckpointInfo, changes: Mapping[str, Any]) -> CheckpointInfo:
    """`info` with other words, which are checked as if they were read from a folder."""
    try:
        changed = CheckpointInfo.model_validate({**dict(info), **changes})
    except ValidationError as error:
        raise InputError(f"the new checkpoint's words are not allowed: {explain(error)}; give others") from error
    for name in changed.presets:
        changed.request("any", seed=0, preset=name)  # refuses a size that cannot be made
    return changed


def _copy(source: Path, target: Path, copy: Callable[[Path, Path], object]) -> None:
    target.mkdir()
    for pattern in _PART_FILES:
        for path in source.glob(pattern):
            copy(path, target / path.name)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file under another name, or its copy where the filesystem or the file's owner does not allow that."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _cast(part: str, source: Path, target: Path, dtype: torch.dtype) -> None:
    is_t5 = part == TEXT_ENCODER_FOLDER
    model: Any = load_t5(source, dtype) if is_t5 else load_part(_MODEL_CLASSES[part], source, dtype=dtype)
    model.save_pretrained(target, max_shard_size=MAX_SHARD_SIZE)


def _forget_origin(path: Path) -> None:
    """Remove the folder that a model was once loaded from: it decides nothing, and names someone's disk."""
    config = json.loads(path.read_text("utf-8"))
    if config.pop("_name_or_path", None) is not None:
        path.unlink()  # it may be linked
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _digest(folder: Path, info: CheckpointInfo) -> str:
    """SHA-256 of all that decides numbers: weights, tokenizer, configurations, scaling factors and the text window."""
    numbers = info.model_dump(include={"stage_one_scaling_factor", "stage_two_scaling_factor", "max_prompt_tokens"})
    tokenizer = folder / TOKENIZER_FOLDER
    paths = {*folder.rglob("*.safetensors"), *folder.rglob("config.json"), *tokenizer.rglob("*")}
    return _digest_of(folder, paths, json.dumps(numbers, sort_keys=True).encode())


def part_digest(folder: Path) -> str:
    """SHA-256 of a part's weights and configuration, whatever checkpoint it lies in."""
    return _digest_of(folder, {*folder.rglob("*.safetensors"), *folder.rglob("config.json")}, b"")


def _digest_of(folder: Path, paths: Collection[Path], beginning: bytes) -> str:
    told = hashlib.sha256(beginning)
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
        told.update(f"{_content_digest(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    return f"sha256:{told.hexdigest()}"


def _content_digest(path: Path) -> str:
    if path.name == _CONFIG_FILE:  # which also says what version of a library wrote it
        config = {name: value for name, value in json.loads(path.read_text("utf-8")).items() if "version" not in name}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
