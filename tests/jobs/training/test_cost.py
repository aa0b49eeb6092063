from pathlib import Path

import pytest

from fv_ray.training.new_checkpoint import new_checkpoint
from fv_ray.training.recipe import AnyRecipe
from jobs.training.cost import RunCost, run_cost
from jobs.training.recipes import find_recipe


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "checkpoint"
    new_checkpoint(folder, "tiny", seed=0)
    return folder


def cost(fresh: Path, part: str, num_workers: int = 1, **changes: object) -> RunCost:
    recipe: AnyRecipe = find_recipe(part, "tiny", {name: str(value).lower() for name, value in changes.items()})
    return run_cost(recipe, fresh, num_workers)


@pytest.mark.parametrize("part", ["vae", "stage_one", "stage_two"])
def test_operations_grow_with_the_steps_alone(fresh: Path, part: str) -> None:
    once, twice = cost(fresh, part), cost(fresh, part, num_steps=12)
    assert twice.flops == pytest.approx(2 * once.flops)
    assert twice.state_bytes == once.state_bytes
    assert twice.kept_bytes == once.kept_bytes


def test_recomputing_costs_a_third_more_and_keeps_less(fresh: Path) -> None:
    plain, recomputed = cost(fresh, "stage_one"), cost(fresh, "stage_one", gradient_checkpointing=True)
    assert recomputed.flops == pytest.approx(4 / 3 * plain.flops, rel=0.05)
    assert recomputed.kept_bytes < plain.kept_bytes


def test_the_state_is_five_copies_of_the_weights_and_shared_by_fsdp(fresh: Path) -> None:
    with_average, without = cost(fresh, "stage_two"), cost(fresh, "stage_two", ema_decay=0)
    assert with_average.state_bytes * 4 == without.state_bytes * 5
    assert cost(fresh, "stage_two", 2, strategy="fsdp").state_bytes == with_average.state_bytes // 2
    assert cost(fresh, "stage_two", 2).state_bytes == with_average.state_bytes


def test_lora_has_little_state(fresh: Path) -> None:
    whole = cost(fresh, "stage_one", trains_text_encoder=False)
    assert cost(fresh, "stage_one", trains_text_encoder=False, lora_rank=1).state_bytes < whole.state_bytes / 2


def test_workers_and_accumulation_divide_what_is_kept(fresh: Path) -> None:
    whole = cost(fresh, "stage_two").kept_bytes
    assert cost(fresh, "stage_two", 2).kept_bytes == whole // 2
    assert cost(fresh, "stage_two", accumulation_steps=4).kept_bytes == whole // 4


def test_it_is_told_in_hours_and_gigabytes() -> None:
    told = RunCost(flops=3600 * 300e12 * 10, state_bytes=2 * 10**9, kept_bytes=10**9).tell(4, use_gpu=True)
    assert "about 10.0 GPU-hours" in told
    assert "2.5 h on 4" in told
    assert "3.0 GB" in told
