"""Further LoRA files over stage one's transformer, by way of diffusers' loader."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from diffusers.loaders import CogVideoXLoraLoaderMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fv_ray.errors import InputError
from fv_ray.models.transformer import StageOneTransformer3DModel

PREFIX = "transformer."


def load_loras(transformer: StageOneTransformer3DModel, scales: Mapping[Path, float]) -> None:
    """Put the LoRA of each safetensors file over the transformer, weighed by its scale, instead of earlier ones.

    A file that is no LoRA, or of other layers, changes nothing; one whose matrices do not fit leaves none applied.

    Raises:
        InputError: a file is not a LoRA of this transformer.
    """
    state_dicts = {file: read_lora(file) for file in scales}
    modules = {name for name, _ in transformer.named_modules()}
    for file, state_dict in state_dicts.items():
        for key in state_dict:
            if key.removeprefix(PREFIX).rpartition(".lora_")[0] not in modules:
                raise InputError(f"{file} does not fit this transformer: it has no {key}; give a LoRA made for it")
    if getattr(transformer, "peft_config", None):
        transformer.unload_lora()
    names = {file: f"lora_{index}" for index, file in enumerate(scales)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # peft asks whether several are meant
        for file, state_dict in state_dicts.items():
            try:
                CogVideoXLoraLoaderMixin.load_lora_into_transformer(state_dict, transformer, adapter_name=names[file])
            except (RuntimeError, ValueError, LookupError) as error:
                if getattr(transformer, "peft_config", None):
                    transformer.unload_lora()  # all or none
                raise InputError(f"{file} does not fit this transformer ({error}); give a LoRA made for it") from error
    transformer.set_adapters(list(names.values()), list(scales.values()))


def read_lora(file: Path) -> dict[str, Tensor]:
    """A LoRA's matrices by diffusers' names.

    Raises:
        InputError: the file is no LoRA of a CogVideoX transformer.
    """
    try:
        state_dict = dict(CogVideoXLoraLoaderMixin.lora_state_dict(load_file(file)))
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{file} is no LoRA ({error}); give a safetensors file of a CogVideoX LoRA") from error
    pairs = {key.replace(".lora_B.", ".lora_A.") for key in state_dict}
    if not state_dict or 2 * len(pairs) != len(state_dict) or not all(key.startswith(PREFIX) for key in state_dict):
        raise InputError(
            f"{file} is no LoRA of a CogVideoX transformer: its keys must start with {PREFIX!r} and come in pairs "
            "of lora_A and lora_B; give a safetensors file of such a LoRA"
        )
    return state_dict
