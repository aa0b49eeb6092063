"""What vLLM is told, as plain values: the engine's arguments and a request's sampling. Never imports vllm."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fv_ray.errors import CheckpointError
from fv_ray.prompts.answer import MAX_ANSWER_TOKENS, answer_schema

GPU_SHARE_USED = 0.9
"""Of the memory of its share of a GPU: CUDA itself and fragments take the rest."""
CPU_KV_CACHE_MB = 512
CPU_BLOCK_TOKENS = 32
"""vLLM's 128 on a CPU would leave most of the instructions out of the prefix cache."""


def require_chat_model(folder: str | Path) -> None:
    """Refuse what is no language model that can be talked to, before anything starts.

    Raises:
        CheckpointError: naming what is missing.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is no language model: it has no config.json; allowed is a folder in Hugging Face's format: "
            "download one first, as with `hf download NAME --local-dir FOLDER`"
        )
    if not _has_chat_template(folder):
        raise CheckpointError(
            f"the language model in {folder} has no chat template, so it is no chat model; "
            "allowed are instruct models: take the -Instruct or -it version"
        )


def model_digest(folder: str | Path) -> str:
    """Of the names and contents of a language model's files, weights and all."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).iterdir()):
        if file.is_file() and not file.name.startswith("."):
            with file.open("rb") as content:
                digest.update(f"{file.name}\t{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def engine_arguments(
    *, num_gpus: float, max_model_len: int, quantization: str | None = None, kv_cache_mb: int | None = None
) -> dict[str, Any]:
    """Arguments of the engine, but for the model.

    Args:
        num_gpus: a share of one GPU, several whole ones, or 0 for the CPU.
        max_model_len: tokens of a chat with its answer.
        quantization: vLLM's name of a way to shrink weights as they are loaded; None: as the folder has them.
        kv_cache_mb: of memory for chats; None: what its share of the GPU leaves, on a CPU 512.
    """
    arguments: dict[str, Any] = {
        "max_model_len": max_model_len,
        "enable_prefix_caching": True,
        # xgrammar, the default, lets raw control characters into JSON's strings.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "quantization": quantization,
    }
    if num_gpus:
        arguments["gpu_memory_utilization"] = GPU_SHARE_USED * min(num_gpus, 1.0)
        arguments["tensor_parallel_size"] = max(1, int(num_gpus))
    else:
        arguments |= {"dtype": "float32", "enforce_eager": True, "block_size": CPU_BLOCK_TOKENS}
        kv_cache_mb = kv_cache_mb or CPU_KV_CACHE_MB
    if kv_cache_mb is not None:
        arguments["kv_cache_memory_bytes"] = kv_cache_mb * 2**20
    return arguments


def sampling_arguments(seed: int) -> dict[str, Any]:
    """Arguments of a request's sampling, but for the schema: its most likely answer."""
    return {"temperature": 0.0, "seed": seed % 2**31, "max_tokens": MAX_ANSWER_TOKENS}


def structured_outputs() -> dict[str, Any]:
    """What holds an answer to the schema."""
    return {"json": answer_schema()}


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))
