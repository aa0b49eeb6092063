"""One block of clips to one Parquet shard of latents.

A clip's degraded twin is what stage two starts from in training:

    flashvideo   blur and resize, as the paper trains
    preview      area-averaged to the preview's size, through the autoencoder and back up, as serving hands it over
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from fv_ray import pixels, vae
from fv_ray.checkpoint import CheckpointInfo
from fv_ray.degradations.pixel import degrade_clip
from fv_ray.degradations.recipes import flashvideo
from fv_ray.errors import InputError, NumericalError
from fv_ray.models.loading import load_vae
from fv_ray.noise import SeededNoise
from fv_ray.storage import storage_errors
from fv_ray.text_encoder import encode_prompts, load_text_encoder
from fv_ray.training.procedural.draws import stable_hash
from fv_ray.training.recipe import View
from jobs.run_folder import write_whole
from jobs.training.data import open_source

Degradation = Literal["flashvideo", "preview"]

ROWS_PER_GROUP = 16
SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("latents_shape", pa.list_(pa.int32()), nullable=False),
        pa.field("latents", pa.binary(), nullable=False),
        pa.field("degraded_latents", pa.binary()),
        pa.field("embeds_shape", pa.list_(pa.int32())),
        pa.field("prompt_embeds", pa.binary()),
    ]
)
"""Latents are unscaled, (F, C, h, w); they and the embeddings are float16."""


@dataclass(frozen=True)
class Encoding:
    """All that decides the rows."""

    checkpoint: str
    source: str
    view: View
    degradations: tuple[Degradation, ...]
    """Each clip takes one of them; none leaves `degraded_latents` empty."""
    has_prompt_embeds: bool
    seed: int

    def told(self) -> dict[str, Any]:
        """As JSON allows, without the checkpoint's place."""
        told = {**asdict(self), "view": self.view.model_dump(mode="json")}
        del told["checkpoint"]
        return told


class ShardEncoder:
    """An actor with an autoencoder."""

    def __init__(self, encoding: Encoding, folder: str) -> None:
        self._encoding = encoding
        self._folder = folder
        self._info = CheckpointInfo.read(encoding.checkpoint)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._vae = load_vae(encoding.checkpoint, device=self._device, dtype=dtype)
        self._text_encoder = None
        if encoding.has_prompt_embeds:
            self._text_encoder = load_text_encoder(
                Path(encoding.checkpoint), self._info.max_prompt_tokens, device=self._device, dtype=dtype
            )

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        """Write a shard, whole or not at all."""
        rows = [self._row(position) for position in range(block["first"], block["last"])]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=ROWS_PER_GROUP)
        fs, root = fsspec.core.url_to_fs(self._folder)
        with storage_errors(self._folder):
            write_whole(fs, f"{root}/{block['name']}", sink.getvalue().to_pybytes())
        return {"name": block["name"], "num_clips": len(rows)}

    def _row(self, position: int) -> dict[str, Any]:
        view, seed = self._encoding.view, self._encoding.seed
        clip_id, caption, arrays = open_source(self._encoding.source, view).sample(position, seed)
        frames_BCFHW = torch.from_numpy(arrays["frames"].copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        generator = torch.Generator("cpu").manual_seed(stable_hash("fv-ray/encode", seed, position))
        clean = self._latents(frames_BCFHW, generator)
        row = {
            "clip_id": clip_id,
            "caption": caption,
            "num_frames": view.num_frames,
            "height": view.height,
            "width": view.width,
            "latents_shape": list(clean.shape),
            "latents": _packed(clean, clip_id),
        }
        if self._encoding.degradations:
            degraded = self._latents(self._degraded(frames_BCFHW, generator), generator)
            row["degraded_latents"] = _packed(degraded, clip_id)
        if self._encoding.has_prompt_embeds:
            embeds = encode_prompts(self._text_encoder, [caption])[0]
            row |= {"embeds_shape": list(embeds.shape), "prompt_embeds": _packed(embeds, clip_id)}
        return row

    def _latents(self, frames_BCFHW: Tensor, generator: torch.Generator) -> Tensor:
        """One clip's, sampled, (F, C, h, w)."""
        noise = SeededNoise(_draw(generator))
        return vae.encode(self._vae, frames_BCFHW, noise=noise)[0].transpose(0, 1)

    def _degraded(self, frames_BCFHW: Tensor, generator: torch.Generator) -> Tensor:
        kinds = self._encoding.degradations
        if kinds[_draw(generator) % len(kinds)] == "flashvideo":
            return degrade_clip(frames_BCFHW[0], flashvideo(), generator)[None]
        sampling = self._info.presets[self._info.default_preset].stage_one
        frames = frames_BCFHW[0].transpose(0, 1)
        small = F.interpolate(frames, size=(sampling.height, sampling.width), mode="area").transpose(0, 1)[None]
        latents = vae.encode(self._vae, small, noise=SeededNoise(_draw(generator)))
        return pixels.resize(vae.decode(self._vae, latents), *frames_BCFHW.shape[-2:]).cpu()


def parse_degradations(names: str) -> tuple[Degradation, ...]:
    """Names with commas between them; empty is none.

    Raises:
        InputError: there is no such degradation.
    """
    known: dict[str, Degradation] = {"flashvideo": "flashvideo", "preview": "preview"}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"there is no degradation {unknown[0]!r}; allowed are {', '.join(known)}: give some of these")
    return tuple(known[name] for name in wanted)


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


def _packed(tensor: Tensor, clip_id: str) -> bytes:
    array = tensor.detach().float().cpu().numpy().astype(np.float16)
    if not np.isfinite(array).all():
        raise NumericalError(f"clip {clip_id} encodes to values beyond float16; train the autoencoder further")
    return array.tobytes()
