"""The command as a person meets it: what it writes, what it says, and that an error leaves nothing behind."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fv_ray import __version__
from fv_ray.cli import main
from fv_ray.preview_folder import read_preview
from fv_ray.sidecar import Sidecar
from fv_ray.video_io import read_frames

Run = Callable[..., int]
SMALL = ["--steps", "2", "--num-frames", "5", "--size", "16x32", "--refine-steps", "1", "--refine-size", "32x64"]
PREVIEW_FILES = {"preview.json", "preview.mp4", "preview.safetensors", "preview.webp", "preview_sheet.webp"}
VIDEO_FILES = {"video.json", "video.mp4", "video.webp", "video_sheet.webp"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["fv-ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def sidecar(file: Path) -> Sidecar:
    return Sidecar.model_validate_json(file.read_text("utf-8"))


def test_generate_writes_a_preview_and_a_video(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ("generate", "a red fox", "--checkpoint", checkpoint, "--output", output, "--seed", 7, *SMALL)
    assert run(*arguments) == 0
    assert {file.name for file in output.iterdir()} == PREVIEW_FILES | VIDEO_FILES
    assert read_frames(output / "preview.mp4").shape == (5, 16, 32, 3)
    assert read_frames(output / "video.mp4").shape == (5, 32, 64, 3)
    made = sidecar(output / "video.json")
    assert made.request.seed == 7
    assert made.num_function_evaluations == 1
    phases = ["text_encode", "decode_preview", "upsample", "encode", "refine", "decode", "mux"]
    assert list(made.phase_seconds) == phases
    preview_phases = list(sidecar(output / "preview.json").phase_seconds)
    assert preview_phases == ["text_encode", "denoise", "decode", "mux"]
    shown = capsys.readouterr()
    assert str(output / "video.mp4") in shown.out
    assert "denoise" in shown.err
    assert "refine" in shown.err

    assert run(*arguments) == 1
    assert f"{output} already exists" in capsys.readouterr().err


def test_preview_first_and_commit_later_gives_the_same_video(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    both, apart = tmp_path / "both", tmp_path / "apart"
    common = ("--checkpoint", checkpoint, "--seed", 7, *SMALL)
    assert run("generate", "a red fox", "--output", both, *common) == 0
    assert run("generate", "a red fox", "--output", apart, "--preview-only", *common) == 0
    assert {file.name for file in apart.iterdir()} == PREVIEW_FILES
    assert run("refine", apart, "--checkpoint", checkpoint) == 0
    assert (apart / "video.mp4").read_bytes() == (both / "video.mp4").read_bytes()


def test_refine_takes_another_prompt_to_another_folder(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preview, output = tmp_path / "preview", tmp_path / "edited"
    assert run("generate", "a red fox", "--checkpoint", checkpoint, "--output", preview, *SMALL) == 0
    assert run("refine", preview, "--checkpoint", checkpoint) == 1
    assert "already holds a video; keep it and give another folder with --output" in capsys.readouterr().err
    refine = ("refine", preview, "--checkpoint", checkpoint, "--output", output)
    assert run(*refine, "--prompt", "a blue cat", "--seed", 3) == 0
    made = sidecar(output / "video.json")
    assert made.prompt == "a blue cat"
    assert made.stage_two_seed == 3
    assert made.request.stage_one == read_preview(preview).request.stage_one
    assert {file.name for file in output.iterdir()} == VIDEO_FILES


def test_a_file_of_prompts(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeffa red fox\r\n\n  \na blue cat\n", "utf-8")
    output = tmp_path / "out"
    files = ("--prompt-file", prompts, "--output", output, "--seed", 7, "--preview-only")
    assert run("generate", "--checkpoint", checkpoint, *files, *SMALL) == 0
    made = [sidecar(folder / "preview.json") for folder in sorted(output.iterdir())]
    assert [(m.prompt, m.request.seed) for m in made] == [("a red fox", 7), ("a blue cat", 8)]


def test_a_seed_is_drawn_and_told(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = set()
    for name in ("one", "two"):
        output = tmp_path / name
        common = ("--checkpoint", checkpoint, "--preview-only", *SMALL)
        assert run("generate", "a fox", "--output", output, *common) == 0
        seed = sidecar(output / "preview.json").request.seed
        assert f"(seed {seed})" in capsys.readouterr().out
        seeds.add(seed)
    assert len(seeds) == 2


@pytest.mark.filterwarnings("default::fv_ray.errors.PromptTooLong")
def test_a_prompt_longer_than_the_window_is_told(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = " ".join(["fox"] * 20)
    assert (
        run("generate", prompt, "--checkpoint", checkpoint, "--output", tmp_path / "o", "--preview-only", *SMALL) == 0
    )
    assert "the last 5 tokens were cut" in capsys.readouterr().err
    assert sidecar(tmp_path / "o" / "preview.json").num_prompt_tokens_cut == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "the prompt is empty"),
        (["x" * 32_001], "at most 32000 characters"),
        ([], "give either a prompt or --prompt-file"),
        (["a fox", "--size", "270x480"], "height of stage one is 270"),
        (["a fox", "--size", "big"], "size 'big' is not understood; write HEIGHTxWIDTH"),
        (["a fox", "--refine-size", "100x100"], "height of stage two is 100"),
        (["a fox", "--num-frames", "6"], "num_frames is 6; allowed are 1 + 4k up to 49: use 5 or 9"),
        (["a fox", "--num-frames", "53"], "num_frames is 53"),
        (["a fox", "--steps", "0"], "num_inference_steps is 0"),
        (["a fox", "--guidance", "nan"], "guidance_scale is nan"),
        (["a fox", "--seed", "-1"], "seed is -1"),
        (["a fox", "--seed", str(2**63)], "seed is 9223372036854775808"),
        (["a fox", "--preset", "fast"], "there is no preset 'fast'"),
        (["a fox", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["a fox", "--attention-backend", "none"], "there is no attention backend 'none'"),
        (["a fox", "--attention-backend", "_native_cudnn"], "attention backend '_native_cudnn' does not run on cpu"),
        (["a fox", "--lora", "nowhere.safetensors"], "nowhere.safetensors is no LoRA"),
        (["a fox", "--lora", "nowhere.safetensors:.5"], "nowhere.safetensors is no LoRA"),
        (["a fox", "--lora", "l:1e-1", "--lora", "l:2"], "LoRA l is given twice"),
        (["a fox", "--lora", "l:1e"], "the scale '1e' of LoRA l:1e is no number"),
        (["a fox", "--size", "9" * 5000 + "x32"], "is not understood; write HEIGHTxWIDTH"),
        (["a fox", "--device", "meta"], "device 'meta' cannot be used"),
        (["a fox", "--crf", "52"], "crf is 52"),
        (["a fox", "--x264-preset", "best"], "there is no preset 'best'"),
        (["--prompt-file", "nowhere.txt"], "nowhere.txt cannot be read"),
    ],
)
def test_what_cannot_be_made(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run("generate", *SMALL, *arguments, "--checkpoint", checkpoint, "--output", tmp_path / "out") == 1
    shown = capsys.readouterr().err
    assert "error: " in shown
    assert message in shown
    assert "denoise" not in shown  # nothing was made in vain
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_checkpoint(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "a fox", "--checkpoint", tmp_path, "--output", tmp_path / "out") == 1
    assert f"{tmp_path} is no checkpoint" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_preview(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("refine", tmp_path, "--checkpoint", checkpoint) == 1
    assert f"{tmp_path} is no preview" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = "from fv_ray.cli import main; main()"
    arguments = ["generate", "a fox", "--checkpoint", str(checkpoint), "--output", str(output), *SMALL]
    full = subprocess.run(
        [sys.executable, "-c", command, *arguments],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)),
        check=False,
    )
    assert full.returncode == 1, full.stderr
    assert "cannot be written" in full.stderr
    assert "Traceback" not in full.stderr
    assert list(tmp_path.iterdir()) == []


def test_convert_and_info(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released = Path(__file__).parent / "parity" / "golden" / "checkpoints"
    output = tmp_path / "converted"
    files = (
        "--stage-one",
        released / "stage1.pt",
        "--stage-two",
        released / "stage2.pt",
        "--vae",
        released / "3d-vae.pt",
    )
    assert run("convert", *files, "--output", output, "--num-frames", 9) == 1
    assert "give all three or none" in capsys.readouterr().err
    sizes = ("--num-frames", 9, "--size", "16x32", "--refine-size", "64x128")
    assert run("convert", *files, "--output", output, *sizes, "--name", "mine") == 0
    index = json.loads((output / "model_index.json").read_text("utf-8"))["fv_ray"]
    assert index["presets"]["paper"]["stage_two"]["width"] == 128
    capsys.readouterr()
    assert run("info", output) == 0
    shown = capsys.readouterr().out
    assert "mine" in shown
    assert "StageTwoTransformer3DModel, 676,032 parameters, BF16" in shown
    assert run("generate", "a fox", "--checkpoint", output, "--output", tmp_path / "out") == 1
    assert "has no text encoder" in capsys.readouterr().err


def test_the_version_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_loads_nothing_heavy() -> None:
    program = """
import sys
from fv_ray.cli import main
sys.argv = ["fv-ray", "--help"]
try:
    main()
finally:
    print(*sorted({"numpy", "pydantic", "torch"} & sys.modules.keys()), file=sys.stderr)
"""
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "generate" in shown.stdout
    assert shown.stderr.split() == []


def test_commit_settings_are_checked_before_any_work(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preview = tmp_path / "preview"
    assert run("generate", "a fox", "--checkpoint", checkpoint, "--output", preview, "--preview-only", *SMALL) == 0
    capsys.readouterr()
    assert run("refine", preview, "--checkpoint", checkpoint, "--crf", 99) == 1
    shown = capsys.readouterr().err
    assert "crf is 99" in shown
    assert "encode" not in shown


def test_a_short_prompt_is_enhanced_and_both_are_told(
    run: Run, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    sizes = ("--num-frames", 5, "--size", "32x48", "--steps", 1, "--preview-only")
    assert run("generate", "a red ball and a fox", "--enhance", "--seed", 7, "--output", output, *sizes) == 0
    told = capsys.readouterr().out
    caption = sidecar(output / "preview.json").prompt
    assert f"a red ball and a fox\n  enhanced: {caption}\n  chosen: " in told
    assert " red ball " in caption
    assert "not used: fox" in told
    other = ("generate", "a red ball", "--enhance", "--checkpoint", checkpoint, "--output", tmp_path / "no")
    assert run(*other) == 1
    assert "openai or vllm" in capsys.readouterr().err
