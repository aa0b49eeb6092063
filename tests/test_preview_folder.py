"""A stored preview is exactly the preview; a stored video is whole or absent."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from pydantic import ValidationError

from fv_ray.checkpoint import CheckpointInfo, Preset, SizeLimits
from fv_ray.errors import InputError, StorageError
from fv_ray.preview_folder import read_preview, write_preview, write_video
from fv_ray.sidecar import PhaseSeconds, Provenance, Sidecar
from fv_ray.types import Preview, Progress, StageOneSampling, StageTwoSampling, VideoRequest
from fv_ray.video_io import read_frames

STAGE_ONE = StageOneSampling(num_inference_steps=3, guidance_scale=6.0, num_frames=9, height=32, width=48)
STAGE_TWO = StageTwoSampling(
    num_inference_steps=2, guidance_scale=13.0, height=64, width=96, shift=5.0, noise_level=675
)
REQUEST = VideoRequest(prompt="a fox — “swift” 🦊", seed=7, stage_one=STAGE_ONE, stage_two=STAGE_TWO)
CHECKPOINT = CheckpointInfo(
    name="tiny",
    digest="0123abcd",
    fps=8,
    max_prompt_tokens=16,
    stage_one_scaling_factor=0.7,
    stage_two_scaling_factor=0.7,
    max_frames=17,
    stage_one_limits=SizeLimits(max_height=64, max_width=64),
    stage_two_limits=SizeLimits(max_height=128, max_width=128),
    default_preset="default",
    presets={"default": Preset(stage_one=STAGE_ONE, stage_two=STAGE_TWO)},
)
PREVIEW_FILES = ["preview.json", "preview.mp4", "preview.safetensors", "preview.webp", "preview_sheet.webp"]
VIDEO_FILES = ["video.json", "video.mp4", "video.webp", "video_sheet.webp"]


def provenance(**changes: object) -> Provenance:
    known = Provenance(
        checkpoint=CHECKPOINT,
        device="cpu",
        dtype="float32",
        vae_dtype="float32",
        num_function_evaluations=3,
        num_prompt_tokens_cut=0,
        phase_seconds={"denoise": 1.5},
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def preview(**changes: object) -> Preview:
    latents = np.random.default_rng(0).standard_normal((3, 16, 4, 6)).astype(np.float32)
    latents[0, 0, 0, :3] = -0.0, 1e-42, np.finfo(np.float32).max
    made = Preview(
        request=REQUEST, latents_FCHW=latents, latents_scaling_factor=0.7, checkpoint_digest="0123abcd", fps=8
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def frames(num_frames: int = 9, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame i is grey 20 i."""
    greys = 20 * np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(greys, (num_frames, height, width, 3))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def assert_whole(folder: Path, sidecar: Sidecar) -> None:
    """The sidecar on disk is the one that was returned and its files are those of the folder."""
    file = folder / f"{sidecar.kind}.json"
    assert Sidecar.model_validate_json(file.read_text("utf-8")) == sidecar
    assert sorted([*sidecar.files, file.name]) == [name for name in names(folder) if name.startswith(sidecar.kind)]
    for name, record in sidecar.files.items():
        content = (folder / name).read_bytes()
        assert (record.sha256, record.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_a_preview_comes_back_bit_for_bit(tmp_path: Path) -> None:
    made = preview()
    write_preview(tmp_path, made, frames(), provenance())
    read = read_preview(tmp_path)
    assert read.latents_FCHW.tobytes() == made.latents_FCHW.tobytes()
    assert (read.latents_FCHW.dtype, read.latents_FCHW.shape) == (np.float32, (3, 16, 4, 6))
    for name in ("request", "latents_scaling_factor", "checkpoint_digest", "fps"):
        assert getattr(read, name) == getattr(made, name)


def test_latents_need_not_be_contiguous(tmp_path: Path) -> None:
    made = preview(latents_FCHW=np.asfortranarray(preview().latents_FCHW))
    write_preview(tmp_path, made, frames(), provenance())
    assert np.array_equal(read_preview(tmp_path).latents_FCHW, made.latents_FCHW)


def test_what_is_read_outlives_its_file(tmp_path: Path) -> None:
    write_preview(tmp_path, preview(), frames(), provenance())
    read = read_preview(tmp_path)
    (tmp_path / "preview.safetensors").write_bytes(b"")
    assert np.array_equal(read.latents_FCHW, preview().latents_FCHW)
    assert read.latents_FCHW.flags.writeable  # torch.from_numpy warns of one that is not


def test_a_preview_folder_is_for_people_too(tmp_path: Path) -> None:
    sidecar = write_preview(tmp_path, preview(), frames(), provenance())
    assert names(tmp_path) == PREVIEW_FILES
    assert_whole(tmp_path, sidecar)
    assert read_frames(tmp_path / "preview.mp4").shape == (9, 32, 48, 3)
    with Image.open(tmp_path / "preview.webp") as image:
        assert image.size == (48, 32)
        assert abs(np.asarray(image.convert("RGB")).mean() - 80) < 2  # the middle frame
    with Image.open(tmp_path / "preview_sheet.webp") as image:
        assert image.size == (480, 321)


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_preview(tmp_path, preview(), frames(), provenance())
    assert len({stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}) == 1


def test_a_sidecar_says_how_it_was_made(tmp_path: Path) -> None:
    write_preview(tmp_path, preview(), frames(), provenance(num_prompt_tokens_cut=4))
    text = (tmp_path / "preview.json").read_text("utf-8")
    said = json.loads(text)
    assert text.startswith('{\n  "format_version": 1,\n  "kind": "preview",\n  "prompt": "a fox — “swift” 🦊",')
    assert said["request"] == REQUEST.model_dump()
    assert said["stage_two_seed"] == REQUEST.stage_two_seed
    assert (said["checkpoint_name"], said["checkpoint_digest"]) == ("tiny", "0123abcd")
    assert (said["device"], said["dtype"]) == ("cpu", "float32")
    assert (said["num_function_evaluations"], said["num_prompt_tokens_cut"]) == (3, 4)
    assert (said["num_frames"], said["height"], said["width"]) == (9, 32, 48)
    assert (said["fps"], said["duration_s"]) == (8, 1.125)
    assert list(said["versions"]) == ["fv_ray", "torch", "diffusers", "transformers", "av", "python"]
    assert all(said["versions"].values())
    assert list(said["phase_seconds"]) == ["denoise", "mux"]
    with pytest.raises(ValidationError, match="extra"):
        Sidecar.model_validate({**said, "extra": 1})


def saved(folder: Path, latents: np.ndarray, **changes: object) -> None:
    """A preview file as `write_preview` makes it, but for `changes` to its header."""
    header = {"request": REQUEST.model_dump(), "latents_scaling_factor": 0.7, "checkpoint_digest": "0123abcd", "fps": 8}
    metadata = {"fv_ray_preview": json.dumps({**header, **changes})}
    safetensors.numpy.save_file({"latents_FCHW": latents}, folder / "preview.safetensors", metadata)


def test_the_file_of_these_tests_is_a_preview(tmp_path: Path) -> None:
    saved(tmp_path, preview().latents_FCHW)
    assert read_preview(tmp_path).request == REQUEST


def test_no_preview_to_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no is no preview: there is no such folder; give a folder that `fv-ray gen"):
        read_preview(tmp_path / "no")
    with pytest.raises(StorageError, match=r"is no preview: .*preview\.safetensors is missing from it; give a folder"):
        read_preview(tmp_path)


@pytest.mark.parametrize("length", [0, 7, 100, -4])
def test_a_preview_that_is_cut_short(tmp_path: Path, length: int) -> None:
    saved(tmp_path, preview().latents_FCHW)
    file = tmp_path / "preview.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(StorageError, match=r"preview\.safetensors cannot be read \(.*\); it must be whole: generate"):
        read_preview(tmp_path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "preview.safetensors"
    latents = preview().latents_FCHW
    for tensors, metadata in (
        ({"latents_FCHW": latents}, None),
        ({"latents_FCHW": latents}, {"format": "pt"}),
        ({"weight": latents}, {"fv_ray_preview": "{}"}),
    ):
        safetensors.numpy.save_file(tensors, file, metadata)
        with pytest.raises(StorageError, match=r"is not of fv-ray \(it lacks 'fv_ray_preview' or 'latents_FCHW'\); gi"):
            read_preview(tmp_path)
    file.write_bytes(b"\x80\x04\x95" + bytes(100))  # a pickle is not opened
    with pytest.raises(StorageError, match="cannot be read"):
        read_preview(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "is not understood: format_version is 2: .*; generate the preview again"),
        ({"fps": "many"}, "is not understood: fps is 'many'"),
        ({"request": {**REQUEST.model_dump(), "seed": -1}}, "is not understood: request.seed is -1"),
        ({"unknown": 1}, "is not understood: unknown is 1"),
    ],
)
def test_a_header_that_is_not_understood(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    saved(tmp_path, preview().latents_FCHW, **changes)
    with pytest.raises(StorageError, match=message):
        read_preview(tmp_path)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.zeros((2, 16, 4, 6), np.float32), r"float32 of shape \(2, 16, 4, 6\); .* float32 of shape \(3, C, 4, 6\)"),
        (np.zeros((3, 16, 6, 4), np.float32), r"are float32 of shape \(3, 16, 6, 4\)"),
        (np.zeros((3, 4, 6), np.float32), r"are float32 of shape \(3, 4, 6\)"),
        (np.zeros((3, 16, 4, 6), np.float64), "are float64 of shape"),
        (np.full((3, 16, 4, 6), np.nan, np.float32), "hold NaN or infinity; allowed are finite numbers: generate the"),
        (np.full((3, 16, 4, 6), -np.inf, np.float32), "hold NaN or infinity"),
    ],
)
def test_latents_that_are_not_the_requests(tmp_path: Path, latents: np.ndarray, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        write_preview(tmp_path, preview(latents_FCHW=latents), frames(), provenance())
    assert names(tmp_path) == []
    saved(tmp_path, latents)
    with pytest.raises(StorageError, match=message):
        read_preview(tmp_path)


def test_a_preview_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="33 x 48"):
        write_preview(tmp_path, preview(), frames(height=33), provenance())
    assert names(tmp_path) == []
    with pytest.raises(StorageError, match="cannot be written"):
        write_preview(tmp_path / "missing", preview(), frames(), provenance())
    assert names(tmp_path) == []


def test_a_video_joins_its_preview(tmp_path: Path) -> None:
    write_preview(tmp_path, preview(), frames(), provenance())
    clip = frames(9, 480, 640)
    sidecar = write_video(tmp_path, REQUEST, [clip[:4], clip[4:]], provenance(), fps=8, crf=30, preset="ultrafast")
    assert names(tmp_path) == PREVIEW_FILES + VIDEO_FILES
    assert_whole(tmp_path, sidecar)
    assert (sidecar.kind, sidecar.num_frames, sidecar.height, sidecar.width) == ("video", 9, 480, 640)
    assert read_preview(tmp_path).request == REQUEST
    shown = read_frames(tmp_path / "video.mp4").mean(axis=(1, 2, 3)) / 20
    assert [round(grey) for grey in shown] == list(range(9))
    with Image.open(tmp_path / "video.webp") as image:
        assert image.size == (320, 240)
    with Image.open(tmp_path / "video_sheet.webp") as image:
        tiles = np.asarray(image.convert("RGB")).reshape(3, 120, 3, 160, 3)
        assert [round(grey) for grey in tiles.mean(axis=(1, 3, 4)).flat / np.float64(20)] == list(range(9))


def test_phases_of_streamed_chunks_are_told(tmp_path: Path) -> None:
    phases = PhaseSeconds()

    def chunks() -> Iterator[np.ndarray]:
        yield frames()
        phases(Progress("decode", 1, 1, 1000.0))

    sidecar = write_video(tmp_path, REQUEST, chunks(), provenance(phase_seconds=phases.seconds), fps=8)
    assert list(sidecar.phase_seconds) == ["decode", "mux"]
    assert sidecar.phase_seconds["decode"] == 1000
    assert sidecar.phase_seconds["mux"] == 0  # no time passed but that of decoding


def test_an_error_midway_leaves_what_was_there(tmp_path: Path) -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield frames()
        yield frames()
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        write_video(tmp_path, REQUEST, chunks(), provenance(), fps=8)
    assert names(tmp_path) == []

    before = write_video(tmp_path, REQUEST, [frames()], provenance(), fps=8)
    with pytest.raises(RuntimeError, match="cancelled"):
        write_video(tmp_path, REQUEST, chunks(), provenance(), fps=8)
    assert names(tmp_path) == VIDEO_FILES
    assert_whole(tmp_path, before)


def test_a_new_video_takes_the_old_ones_place(tmp_path: Path) -> None:
    write_video(tmp_path, REQUEST, [frames()], provenance(), fps=8)
    sidecar = write_video(tmp_path, REQUEST, [frames(5)], provenance(), fps=8)
    assert names(tmp_path) == VIDEO_FILES
    assert_whole(tmp_path, sidecar)
    assert sidecar.num_frames == 5


def test_a_video_that_cannot_be_put_in_place_is_not_said_to_be_complete(tmp_path: Path) -> None:
    write_video(tmp_path, REQUEST, [frames()], provenance(), fps=8)
    os.remove(tmp_path / "video_sheet.webp")
    (tmp_path / "video_sheet.webp").mkdir()  # a file cannot replace a folder
    with pytest.raises(StorageError, match="cannot be written"):
        write_video(tmp_path, REQUEST, [frames(5)], provenance(), fps=8)
    assert "video.json" not in names(tmp_path)
    assert not [name for name in names(tmp_path) if name.startswith(".")]
