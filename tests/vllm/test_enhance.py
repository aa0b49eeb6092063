"""A table on `ray.data.llm`, with vLLM itself on the CPU."""

from pathlib import Path

import pytest

pytest.importorskip("vllm")

from jobs.enhance_rows import Enhancer, PromptRow, enhance_rows
from tests.vllm.chat_model import CAPTION
from tests.vllm.conftest import PATIENCE_S

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(3 * PATIENCE_S),
    pytest.mark.usefixtures("ray_with_vllm"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of ray.data.llm's own modules
]


def test_a_table_is_enhanced_and_what_was_refused_is_asked_again(chat_model: Path, prompt_checkpoint: Path) -> None:
    prompts = [f"a red fox in the snow, take {'again ' * n}" for n in range(20)] + ["two blue cars", CAPTION * 2]
    enhancer = Enhancer("vllm", str(prompt_checkpoint), model=str(chat_model), kv_cache_mb=64)
    told = dict(enhance_rows([PromptRow(n, prompt, n) for n, prompt in enumerate(prompts)], enhancer))
    assert [told[n].enhanced_prompt for n in range(20)] == [CAPTION] * 20
    assert told[20].outcome == "refused"
    assert len(told[20].notes) == 3
    assert told[21].outcome == "long_enough"
