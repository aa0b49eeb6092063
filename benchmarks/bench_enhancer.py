"""Times a language model's captions: prompts one after the other against all at once, and what the prefix cache saves.

    python -m benchmarks.bench_enhancer MODEL --checkpoint FOLDER

Through Ray Serve, as the service asks, in one run. Needs vLLM.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # read when Ray is imported

from ray import serve

from benchmarks import report
from deployments.config import EnhancerConfig
from deployments.enhancer_call import over_handle
from deployments.prompt_enhancer import VllmEnhancerReplica
from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.prompts.enhanced import Enhanced
from jobs.connect_ray import connected

HEAD = ("", "prompts", "seconds", "prompts/s", "ratio", "tokens from the cache", "enhanced")
WAYS = ("one after the other", "all at once")
TIMEOUT_S = 3600


async def ask(handle: Any, prompts: Sequence[str], *, at_once: bool) -> list[Enhanced]:
    call = over_handle(handle, TIMEOUT_S)
    if at_once:
        return await asyncio.gather(*(call(prompt, 0, True) for prompt in prompts))
    return [await call(prompt, 0, True) for prompt in prompts]


def measure(handle: Any, num_prompts: int) -> list[tuple[str, ...]]:
    """A row for each way."""
    rows, first_s = [], 0.0
    for way in WAYS:
        prompts = [f"a red fox in the snow, seen {way}, {'again and ' * n} again" for n in range(num_prompts)]
        before, start = handle.num_tokens.remote().result(), time.perf_counter()
        told = asyncio.run(ask(handle, prompts, at_once=way == WAYS[1]))
        seconds, after = time.perf_counter() - start, handle.num_tokens.remote().result()
        first_s = first_s or seconds
        cached = (after.cached - before.cached) / (after.asked - before.asked)
        num_enhanced = sum(each.outcome == "enhanced" for each in told)
        figures = (f"{seconds:.2f}", f"{num_prompts / seconds:.1f}", f"{first_s / seconds:.1f}", f"{cached:.0%}")
        rows.append((way, str(num_prompts), *figures, str(num_enhanced)))
    return rows


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    config = EnhancerConfig(
        kind="vllm",
        model=str(options.model.absolute()),
        num_gpus=options.num_gpus,
        quantization=options.quantization,
        max_ongoing_requests=options.prompts,
    )
    deployment = serve.deployment(VllmEnhancerReplica, name="PromptEnhancer").options(
        max_ongoing_requests=options.prompts, ray_actor_options={"num_cpus": 0, "num_gpus": options.num_gpus}
    )
    with connected():
        application = deployment.bind(options.checkpoint.absolute(), config)
        rows = measure(serve.run(application, name="bench_enhancer", route_prefix=None), options.prompts)
        serve.delete("bench_enhancer")
    print(report.table(HEAD, rows))
    print(f"\n- {options.model.name}, {options.num_gpus:g} GPUs, {os.cpu_count()} CPUs; every prompt is another one")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_enhancer", description="Captions a second.")
    parser.add_argument("model", type=Path, help="a chat model's folder")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_MODEL, help="whose window captions fit")
    parser.add_argument("--prompts", type=int, default=32, help="of each way")
    parser.add_argument("--num-gpus", type=float, default=0)
    parser.add_argument("--quantization", help="vLLM's name, such as fp8")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
