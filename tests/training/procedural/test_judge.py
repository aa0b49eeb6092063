"""The judge: right about worn clips of the world, at chance about what cannot be seen, silent about the rest."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.bench_procedural import worn
from fv_ray.errors import InputError
from fv_ray.training.procedural.judge import Verdict, judge
from fv_ray.training.procedural.render import render_clip
from fv_ray.training.procedural.scene import ATTRIBUTES, TEXTURES, Scene, draw_scene

NUM_CLIPS = 100
"""Drawn by their numbers: every run reads the same ones. `python -m benchmarks.bench_procedural` reads more."""
CHANCE = 1 / len(TEXTURES)
SPREAD = 3 * (CHANCE * (1 - CHANCE) / NUM_CLIPS) ** 0.5
"""Three standard deviations of the share that guessing gets right."""
NUM_FRAMES = 9
HIGH, LOW = (128, 192), (32, 48)


def verdicts(size: tuple[int, int], num_clips: int) -> Iterator[tuple[Scene, Verdict]]:
    for seed in range(num_clips):
        scene = draw_scene(seed, "held_out" if seed % 2 else "train")
        yield scene, judge(worn(render_clip(scene, NUM_FRAMES, *size), seed))


def shares_right(read: list[tuple[Scene, Verdict]]) -> dict[str, float]:
    right = Counter(
        name for scene, verdict in read for name, is_so in verdict.agrees(scene.attributes).items() if is_so
    )
    return {name: right[name] / len(read) for name in ATTRIBUTES}


def test_it_reads_everything_at_the_high_resolution() -> None:
    read = list(verdicts(HIGH, NUM_CLIPS // 2))
    shares = shares_right(read)
    assert min(shares.values()) >= 0.99, shares
    assert np.mean([verdict.clearness for _, verdict in read]) > 0.95


def test_it_reads_all_but_the_texture_at_the_low_resolution() -> None:
    read = list(verdicts(LOW, NUM_CLIPS))
    shares = shares_right(read)
    texture = shares.pop("texture")
    assert min(shares.values()) >= 0.99, shares
    assert CHANCE - SPREAD < texture < CHANCE + SPREAD


def test_the_texture_is_not_told_by_an_averaged_high_resolution_either() -> None:
    right = 0
    for seed in range(NUM_CLIPS):
        scene = draw_scene(seed)
        high = render_clip(scene, 3, *HIGH).reshape(3, LOW[0], 4, LOW[1], 4, 3)
        right += judge(high.mean((2, 4)).round().astype(np.uint8)).agrees(scene.attributes)["texture"]
    assert right / NUM_CLIPS < CHANCE + SPREAD


def test_it_reads_the_larger_pair_of_sizes_too() -> None:
    for seed in range(8):
        scene = draw_scene(seed, "held_out")
        high = judge(render_clip(scene, 17, 256, 384, preview_height=64))
        low = judge(render_clip(scene, 17, 64, 96, preview_height=64))
        assert high.values == scene.attributes
        assert {**low.values, "texture": scene.texture} == scene.attributes


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (5, height, width, 3), dtype=np.uint8)


def faint_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(100, 156, (5, height, width, 3), dtype=np.uint8)


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth blobs of colour: what an untrained decoder makes."""
    field = ndimage.gaussian_filter(rng.standard_normal((5, height, width, 3)), (2, height / 12, height / 12, 0))
    return np.clip(128 + 60 * field / field.std(), 0, 255).astype(np.uint8)


def nothing(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.full((5, height, width, 3), rng.integers(256), dtype=np.uint8)


def other_frames(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Every frame of another scene."""
    return np.concatenate([render_clip(draw_scene(int(seed)), 1, height, width) for seed in rng.integers(9999, size=5)])


@pytest.mark.parametrize("size", [HIGH, LOW], ids=["high", "low"])
@pytest.mark.parametrize("garbage", [noise, faint_noise, clouds, nothing, other_frames])
def test_it_does_not_read_what_is_not_of_this_world(garbage: object, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        verdict = judge(garbage(rng, *size))
        assert not verdict.is_readable
        assert verdict.clearness < 0.35
        assert not any(verdict.agrees(draw_scene(1).attributes).values())


def test_it_is_less_sure_of_two_objects_than_of_one() -> None:
    one = render_clip(draw_scene(4), 5, *HIGH)
    two = np.concatenate([one[:, :, 48:144], one[:, :, 48:144]], axis=2)
    assert judge(two).clearness < 0.8 < judge(one).clearness


def test_a_pattern_is_read_wherever_its_phase_is() -> None:
    for texture in TEXTURES:
        clip = render_clip(Scene("square", "red", "right", "grey", "large", texture), 5, *HIGH)
        for shift in (1, 2, 3):
            assert judge(np.roll(clip, (shift, shift), axis=(1, 2))).values["texture"] == texture


@pytest.mark.parametrize(
    "frames",
    [np.zeros((5, 32, 48, 3)), np.zeros((5, 32, 48), np.uint8), np.zeros((1, 32, 48, 3), np.uint8)],
    ids=["float", "grey", "picture"],
)
def test_what_is_no_clip_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="the clip is .* of shape .*; allowed are uint8 RGB frames .*: convert"):
        judge(frames)


def test_a_clip_too_small_to_read_is_refused() -> None:
    with pytest.raises(InputError, match="at least 32 x 32 pixels: convert or enlarge"):
        judge(np.zeros((5, 16, 24, 3), np.uint8))
