"""Parquet shards of random latents."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHAPE = (3, 16, 4, 8)  # of 9 frames of 32 x 64 pixels


def row(number: int, **changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(number)
    clean, degraded = (generator.standard_normal(SHAPE).astype(np.float16) for _ in range(2))
    return {
        "clip_id": f"clip {number}",
        "caption": "a red ball drifts left",
        "num_frames": 9,
        "height": 32,
        "width": 64,
        "latents_shape": list(SHAPE),
        "latents": clean.tobytes(),
        "degraded_latents": degraded.tobytes(),
    } | changes


def write_shards(folder: Path, rows: list[dict[str, Any]], rows_per_shard: int = 4, rows_per_group: int = 2) -> str:
    (folder / "clips").mkdir(parents=True)
    for first in range(0, len(rows), rows_per_shard):
        table = pa.Table.from_pylist(rows[first : first + rows_per_shard])
        pq.write_table(table, folder / "clips" / f"{first:06d}.parquet", row_group_size=rows_per_group)
    return str(folder)
