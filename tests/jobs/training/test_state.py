"""The same weights from one worker, from two that hold all of them, and from two that hold a share of each."""

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

LORA = {"lora_rank": "2", "trains_text_encoder": "false"}
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "vae": ("vae", {}),
    "stage_one": ("stage_one", {"accumulation_steps": "2"}),
    "stage_one_lora": ("stage_one", LORA),
    "stage_two": ("stage_two", {}),
}
LOSS_TOLERANCE = {"vae": 3e-4}
"""Relative, of float32 losses over six steps, else 1e-5: sums over samples are taken in another order.

Seen: 7.8e-5 for the autoencoder, 1.2e-6 for stage one, 1.2e-7 for stage two.
"""
WEIGHT_TOLERANCE = 2e-5
"""Of the root mean square difference of all weights, each of which may move by 1e-3 a step.

Seen: 3.2e-6 for stage one, 1.2e-6 for the autoencoder; where a gradient is near zero, AdamW magnifies its rounding, and
single weights differ by 2.7e-4.
"""


@pytest.fixture(scope="module")
def trained(fresh_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps at once and three and three, by one worker, by two with DDP, by two with FSDP2."""
    folder = tmp_path_factory.mktemp("state")
    latents = write_shards(folder / "set", [row(number) for number in range(8)])
    data = {"vae": "procedural", "stage_one": "procedural", "stage_two": latents}
    base = trained_base(fresh_checkpoint, folder)
    for num_workers, strategies in ((1, ("ddp",)), (2, ("ddp", "fsdp"))):
        runs: list[dict[str, Any]] = []
        for case, (part, changes) in CASES.items():
            for strategy in strategies:
                recipe = find_recipe(part, "tiny", {**changes, "strategy": strategy})
                run = {
                    "name": f"{case}_{num_workers}_{strategy}",
                    "recipe": recipe.model_dump(mode="json"),
                    "data": dict.fromkeys(("high", "low"), data[part]),
                    "checkpoint": base if case == "stage_one_lora" else fresh_checkpoint,
                    "steps": (0, 6),
                }
                runs.append(run)
                if case in ("vae", "stage_one"):
                    runs.append({**run, "name": f"{run['name']}_half", "steps": (0, 3)})
                    runs.append({**run, "name": f"{run['name']}_rest", "steps": (3, 6), "after": f"{run['name']}_half"})
        train_steps(folder, num_workers, runs)
    run = next(run for run in runs if run["name"] == "vae_2_fsdp_rest")
    train_steps(folder, 1, [{**run, "name": "vae_2_fsdp_rest_alone", "recipe": {**run["recipe"], "strategy": "ddp"}}])
    return folder


def trained_base(fresh_checkpoint: Path, folder: Path) -> Path:
    """Over a transformer that predicts zero, a LoRA of the attention gets no gradient."""
    run = {
        "name": "base",
        "recipe": find_recipe("stage_one", "tiny").model_dump(mode="json"),
        "data": {"low": "procedural"},
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


def losses(found: dict[str, Any]) -> list[float]:
    return [metrics["loss"] for metrics in found["metrics"]]


def assert_close(found: dict[str, Any], expected: dict[str, Any], case: str) -> None:
    tolerance = LOSS_TOLERANCE.get(case, 1e-5)
    assert losses(found) == pytest.approx(losses(expected)[-len(losses(found)) :], rel=tolerance)
    assert_close_weights(found["weights"], expected["weights"])


def assert_close_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    differences = torch.cat([(found[name] - weight).flatten() for name, weight in expected.items()])
    assert differences.square().mean().sqrt() < WEIGHT_TOLERANCE


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_workers_train_what_one_trains(trained: Path, case: str, strategy: str) -> None:
    assert_close(result(trained, f"{case}_2_{strategy}"), result(trained, f"{case}_1_ddp"), case)


@pytest.mark.parametrize("name", ["vae_1_ddp", "vae_2_ddp", "vae_2_fsdp", "stage_one_1_ddp", "stage_one_2_fsdp"])
def test_what_was_saved_goes_on_exactly(trained: Path, name: str) -> None:
    whole, rest = result(trained, name), result(trained, f"{name}_rest")
    assert rest["metrics"] == whole["metrics"][3:]
    assert all(torch.equal(rest["weights"][name], weight) for name, weight in whole["weights"].items())


def test_one_worker_goes_on_with_what_two_shared(trained: Path) -> None:
    assert_close(result(trained, "vae_2_fsdp_rest_alone"), result(trained, "vae_1_ddp"), "vae")


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
