"""Reads a checkpoint folder's parts into modules, and released files into tensors.

Safetensors and pickles of tensors alone: nothing that runs code, nothing from the network.
"""

import re
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKLCogVideoX

from fv_ray.errors import CheckpointError
from fv_ray.models.transformer import StageOneTransformer3DModel, StageTwoTransformer3DModel

STAGE_ONE_TRANSFORMER = "stage_one_transformer"
STAGE_TWO_TRANSFORMER = "stage_two_transformer"
VAE = "vae"

_ZIP_START = b"PK\x03\x04"

_Model = TypeVar("_Model")


def load_stage_one_transformer(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StageOneTransformer3DModel:
    """Stage one's transformer of the checkpoint `folder`, in eval mode and without gradients.

    Raises:
        CheckpointError: for weights that are missing, damaged or of another model.
    """
    return load_part(StageOneTransformer3DModel, Path(folder) / STAGE_ONE_TRANSFORMER, device=device, dtype=dtype)


def load_stage_two_transformer(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StageTwoTransformer3DModel:
    """Stage two's transformer; as `load_stage_one_transformer`."""
    return load_part(StageTwoTransformer3DModel, Path(folder) / STAGE_TWO_TRANSFORMER, device=device, dtype=dtype)


def load_vae(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKLCogVideoX:
    """The autoencoder of both stages; as `load_stage_one_transformer`.

    On a GPU it runs in float16 where the transformers run in bfloat16, as the released scripts decode.
    """
    if torch.device(device).type == "cuda" and dtype == torch.bfloat16:
        dtype = torch.float16
    return load_part(AutoencoderKLCogVideoX, Path(folder) / VAE, device=device, dtype=dtype)


def load_part(
    model_class: type[_Model], part: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> _Model:
    """The model of the class in the folder `part`, wherever that lies; as `load_stage_one_transformer`."""
    if not part.is_dir():
        raise CheckpointError(f"{part} does not exist; give a folder that `fv-ray convert` wrote")
    loader: Any = model_class
    try:
        found = loader.load_config(part)["_class_name"]
        if found != loader.__name__:
            raise CheckpointError(f"{part} holds a {found}, not a {loader.__name__}; convert the weights again")
        model, report = loader.from_pretrained(
            part, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except CheckpointError:
        raise
    except Exception as error:  # diffusers, safetensors and torch each raise their own
        raise CheckpointError(f"{part} cannot be loaded ({error}); convert the weights again") from error
    if wrong := [f"{kind}: {names[0]}" for kind, names in report.items() if names]:
        raise CheckpointError(f"{part} is of another model ({', '.join(map(str, wrong))}); convert the weights again")
    return model.to(device).eval().requires_grad_(False)


def read_released(path: str | Path) -> dict[str, Any]:
    """Read a released .pt file without running any code in it; its tensors stay on disk until they are used.

    Raises:
        CheckpointError: saying whether the file is missing, cut short, foreign or holds code.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP_START))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); give a released .pt file") from error
    is_zip = zipfile.is_zipfile(path)
    if start == _ZIP_START and not is_zip:
        raise CheckpointError(f"{path} is cut short at {path.stat().st_size} bytes; download it again")
    if is_zip and (damaged := _damaged_entry(path)):
        raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong; download it again")
    try:
        # Files older than the zip format cannot stay on disk.
        released = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a foreign file can fail in any way
        raise CheckpointError(f"{path} {_reason(error)}; give a released .pt file") from error
    if not isinstance(released, dict):
        raise CheckpointError(f"{path} holds a {type(released).__name__}, not a state dict; give a released .pt file")
    return released


def _damaged_entry(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except zipfile.BadZipFile as error:
        return str(error)


def _reason(error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    return f"was refused: it holds code ({refused[1]})" if refused else "was not written by torch.save, or is damaged"
