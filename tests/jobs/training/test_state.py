"""The same weights from one worker, from two that hold all of them, and from two that hold a share of each."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fv_ray.checkpoint_folder import replace_parts
from fv_ray.training.recipe import AnyRecipe
from jobs.training.recipes import find_recipe
from jobs.training.state import learning_rate
from tests.jobs.training.processes import train_steps
from tests.jobs.training.shards import row, write_shards

VIEWS = json.dumps([{"source": "low", "batch_size": 4, "num_frames": 9, "height": 32, "width": 64}])
LORA = {"lora_rank": "2", "trains_text_encoder": "false", "views": VIEWS}
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "vae": ("vae", {"seed": "2"}),  # whose first steps take one view and the other
    "stage_one": ("stage_one", {"accumulation_steps": "2", "views": VIEWS}),
    "stage_one_lora": ("stage_one", LORA),
    "stage_two": ("stage_two", {}),
}
RESUMED = ["vae_2_ddp", "vae_2_fsdp", "stage_one_1_ddp"]
NUM_STEPS, NUM_HALF = 2, 1
FLOAT32_TOLERANCE = 16 * 2.0**-24
"""Relative, of what the code itself keeps in float32: losses are a few roundings of half a unit in the last place."""
FLOAT64_TOLERANCE = 1e-8
"""Of any weight. A step is 1e-3 and a mistake a share of it. Float64 leaves 1e-14; where a loss's float32 falls on the
other side of a rounding, 2**-24 of a step is left.
"""


@pytest.fixture(scope="module")
def trained(fresh_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All steps at once, and in two runs, by one worker, by two with DDP, by two with FSDP2."""
    folder = tmp_path_factory.mktemp("state")
    latents = write_shards(folder / "set", [row(number) for number in range(8)])
    base = trained_base(fresh_checkpoint, latents, folder)
    for num_workers, strategies in ((1, ("ddp",)), (2, ("ddp", "fsdp"))):
        runs: list[dict[str, Any]] = []
        for case, (part, changes) in CASES.items():
            for strategy in strategies:
                recipe = find_recipe(part, "tiny", {**changes, "strategy": strategy})
                name = f"{case}_{num_workers}_{strategy}"
                run = {
                    "name": name,
                    "recipe": recipe.model_dump(mode="json"),
                    "data": dict.fromkeys(("high", "low"), "procedural" if part == "vae" else latents),
                    "checkpoint": base if case == "stage_one_lora" else fresh_checkpoint,
                    "steps": (0, NUM_STEPS),
                }
                if name not in RESUMED:
                    runs.append(run)
                    continue
                runs.append({**run, "saves": {NUM_HALF: f"{name}_half"}})
                runs.append({**run, "name": f"{name}_rest", "steps": (NUM_HALF, NUM_STEPS), "after": f"{name}_half"})
        train_steps(folder, num_workers, runs)
    run = next(run for run in runs if run["name"] == "vae_2_fsdp_rest")
    train_steps(folder, 1, [{**run, "name": "vae_2_fsdp_rest_alone", "recipe": {**run["recipe"], "strategy": "ddp"}}])
    return folder


def trained_base(fresh_checkpoint: Path, latents: str, folder: Path) -> Path:
    """Over a transformer that predicts zero, a LoRA of the attention gets no gradient."""
    run = {
        "name": "base",
        "recipe": find_recipe("stage_one", "tiny", {"views": VIEWS}).model_dump(mode="json"),
        "data": {"low": latents},
        "checkpoint": fresh_checkpoint,
        "steps": (0, 2),
    }
    train_steps(folder, 1, [run])
    parts = {path.name: path for path in (folder / "base" / "parts").iterdir()}
    replace_parts(fresh_checkpoint, folder / "trained", parts)
    return folder / "trained"


def result(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{name}.pt")
    return found


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    steps = expected["metrics"][-len(found["metrics"]) :]
    for name in ("loss", "grad_norm"):
        values = [metrics[name] for metrics in steps]
        assert [metrics[name] for metrics in found["metrics"]] == pytest.approx(values, rel=FLOAT32_TOLERANCE, abs=0)
    assert_close_weights(found["weights"], expected["weights"])


def assert_close_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        if weight.dtype == torch.float64:
            torch.testing.assert_close(found[name], weight, atol=FLOAT64_TOLERANCE, rtol=0, msg=name)
        else:
            torch.testing.assert_close(found[name], weight, atol=0, rtol=FLOAT32_TOLERANCE, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_workers_train_what_one_trains(trained: Path, case: str, strategy: str) -> None:
    assert_close(result(trained, f"{case}_2_{strategy}"), result(trained, f"{case}_1_ddp"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_what_was_saved_goes_on_exactly(trained: Path, name: str) -> None:
    whole, rest = result(trained, name), result(trained, f"{name}_rest")
    assert rest["metrics"] == whole["metrics"][NUM_HALF:]
    assert all(torch.equal(rest["weights"][name], weight) for name, weight in whole["weights"].items())


@pytest.mark.slow
def test_one_worker_goes_on_with_what_two_shared(trained: Path) -> None:
    assert_close(result(trained, "vae_2_fsdp_rest_alone"), result(trained, "vae_1_ddp"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_parts_are_the_averaged_weights_and_have_the_same_names(trained: Path, case: str) -> None:
    alone, shared = (
        {path.relative_to(trained / name): load_file(path) for path in (trained / name).rglob("parts/**/*.safetensors")}
        for name in (f"{case}_1_ddp", f"{case}_2_fsdp")
    )
    assert alone.keys() == shared.keys()
    assert alone
    for path, weights in alone.items():
        assert_close_weights(shared[path], weights)


@pytest.mark.slow
def test_the_weights_are_the_average_of_those_of_the_steps(trained: Path) -> None:
    """Of ema_decay 0.5, which (1 + step) / (10 + step) is below."""
    found = result(trained, "vae_1_ddp")
    first, *others = found["trained"]
    for name, average in first.items():
        for step, values in enumerate(others):
            decay = (1 + step) / (10 + step)
            average = decay * average + (1 - decay) * values[name]  # noqa: PLW2901
        torch.testing.assert_close(found["weights"][name], average, atol=FLOAT64_TOLERANCE, rtol=0)
    assert max((found["weights"][name] - last).abs().max() for name, last in others[-1].items()) > 1e-5


@pytest.mark.slow
def test_a_weight_of_two_names_is_averaged_under_both(trained: Path) -> None:
    weights = result(trained, "stage_one_1_ddp")["weights"]
    names = ("text_encoder.shared.weight", "text_encoder.encoder.embed_tokens.weight")
    assert torch.equal(*(weights[name] for name in names))


def test_the_learning_rate_rises_stays_and_falls() -> None:
    changes = {"num_steps": "100", "warmup_steps": "10", "decay_steps": "20", "learning_rate": "2.0"}
    recipe: AnyRecipe = find_recipe("vae", "tiny", changes)
    rates = [learning_rate(recipe, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert set(rates[10:80]) == {2.0}
    assert rates[80:] == pytest.approx([2.0 * left / 20 for left in range(20, 0, -1)])
    flat = find_recipe("vae", "tiny", {"warmup_steps": "0"})
    assert {learning_rate(flat, step) for step in range(6)} == {flat.learning_rate}
