import json
from pathlib import Path

import pytest

from fv_ray.errors import CheckpointError
from fv_ray.prompts.engine import engine_arguments, model_digest, require_chat_model, sampling_arguments


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_only_a_folder_with_a_chat_template_is_a_chat_model(tmp_path: Path, place: str) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        require_chat_model(tmp_path / "some/name")
    (tmp_path / "config.json").write_text("{}")
    for text in ("", "[]", "{}", '{"chat_template": null}'):
        (tmp_path / "tokenizer_config.json").write_text(text)
        with pytest.raises(CheckpointError, match="no chat template"):
            require_chat_model(tmp_path)
    (tmp_path / place).write_text(json.dumps({"chat_template": "{{ messages }}"}))
    require_chat_model(tmp_path)


def test_another_weight_is_another_model_wherever_it_lies(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"0" * 10)
        (folder / "config.json").write_text("{}")
    (there / ".cache").mkdir()
    assert model_digest(here) == model_digest(there)
    (there / "model.safetensors").write_bytes(b"0" * 9 + b"1")
    assert model_digest(here) != model_digest(there)


def test_an_engine_takes_its_share_of_a_gpu_and_no_more() -> None:
    half = engine_arguments(num_gpus=0.5, max_model_len=4096)
    assert half["gpu_memory_utilization"] == pytest.approx(0.45)
    assert half["tensor_parallel_size"] == 1
    assert "kv_cache_memory_bytes" not in half
    two = engine_arguments(num_gpus=2, max_model_len=4096, quantization="fp8", kv_cache_mb=100)
    assert (two["gpu_memory_utilization"], two["tensor_parallel_size"]) == (0.9, 2)
    assert (two["quantization"], two["kv_cache_memory_bytes"]) == ("fp8", 100 * 2**20)
    assert "gpu_memory_utilization" not in engine_arguments(num_gpus=0, max_model_len=512)


def test_any_seed_is_one_that_an_engine_takes() -> None:
    assert sampling_arguments(2**63 - 1)["seed"] < 2**31
