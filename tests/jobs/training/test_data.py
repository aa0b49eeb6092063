"""The data sets: the same sample for the same number, every clip once an epoch."""

from pathlib import Path

import numpy as np
import pytest

from fv_ray.errors import InputError, StorageError
from fv_ray.training.procedural.captions import caption
from fv_ray.training.procedural.draws import stable_hash
from fv_ray.training.procedural.scene import draw_scene, split_of
from fv_ray.training.recipe import View
from jobs.training.data import open_source
from tests.jobs.training.shards import row, write_shards

VIEW = View(batch_size=2, num_frames=9, height=32, width=64)


def test_a_scene_is_the_same_for_ever() -> None:
    source = open_source("procedural", VIEW)
    assert source.num_samples is None
    name, text, arrays = source.sample(5, 1)
    again = open_source("procedural:train", VIEW).sample(5, 1)
    assert (name, text) == again[:2]
    np.testing.assert_array_equal(arrays["frames"], again[2]["frames"])
    assert arrays["frames"].shape == (9, 32, 64, 3)
    assert len({source.sample(position, seed)[0] for position in range(20) for seed in (0, 1)}) == 40


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_split_shows_only_its_own(split: str) -> None:
    source = open_source(f"procedural:{split}", View(batch_size=1, num_frames=1, height=16, width=16))
    for position in range(60):
        seed = stable_hash("fv-ray/training/scene", 2, position)
        scene = draw_scene(seed, split)  # type: ignore[arg-type]
        assert split_of(scene.colour, scene.shape, scene.motion) == split
        assert source.sample(position, 2)[:2] == (f"scene {seed}", caption(scene, seed))


@pytest.mark.parametrize("url", ["procedural:valid", "procedural:train:x", "procedural:train:32:1"])
def test_another_world_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=f"the data set is '{url}'; allowed are procedural, .*train or held_out"):
        open_source(url, VIEW)


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own(tmp_path: Path) -> None:
    source = open_source(write_shards(tmp_path / "set", [row(number) for number in range(10)]), VIEW)
    assert source.num_samples == 10
    epochs = [[source.sample(position, 0)[0] for position in range(first, first + 10)] for first in (0, 10, 20)]
    assert all(sorted(epoch) == sorted(f"clip {number}" for number in range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [source.sample(position, 1)[0] for position in range(10)] not in epochs


def test_a_row_brings_its_own_arrays(tmp_path: Path) -> None:
    embeds = np.arange(6, dtype=np.float16).reshape(2, 3)
    texts = {"prompt_embeds": embeds.tobytes(), "embeds_shape": [2, 3]}
    source = open_source(write_shards(tmp_path / "set", [row(number, **texts) for number in range(6)]), VIEW)
    for position in range(6):
        name, text, arrays = source.sample(position, 0)
        meant = row(int(name.removeprefix("clip ")))
        assert text == meant["caption"]
        assert arrays["latents"].tobytes() == meant["latents"]
        assert arrays["degraded_latents"].tobytes() == meant["degraded_latents"]
        np.testing.assert_array_equal(arrays["prompt_embeds"], embeds)


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    lacking = {name: value for name, value in row(0).items() if name != "caption"}
    url = write_shards(tmp_path / "set", [lacking])
    with pytest.raises(InputError, match=r"has the columns clip_id, .*; training needs clip_id, caption, "):
        open_source(url, VIEW)
    lacking = {name: value for name, value in row(0).items() if name != "latents_shape"}
    with pytest.raises(InputError, match=r"latents with latents_shape: give a folder"):
        open_source(write_shards(tmp_path / "shapeless", [lacking]), VIEW)


def test_clips_of_another_size_are_told(tmp_path: Path) -> None:
    source = open_source(write_shards(tmp_path / "set", [row(0, height=48)]), VIEW)
    with pytest.raises(InputError, match=r"clip 0 of .* is 9 frames of 48 x 64 pixels, .* are 9 of 32 x 64: prepare"):
        source.sample(0, 0)


def test_a_folder_without_clips_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no Parquet shards"):
        open_source(str(tmp_path), VIEW)
    (tmp_path / "letter.parquet").write_text("no table")
    with pytest.raises(StorageError, match="letter.parquet cannot be read as Parquet"):
        open_source(str(tmp_path), VIEW)
