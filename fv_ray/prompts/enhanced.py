"""What came of a prompt: the user's own words, what the model reads in their place, and why."""

from __future__ import annotations

from typing import Literal

from fv_ray.types import Prompt, Value

EnhancerKind = Literal["rules", "openai", "vllm"]
Motion = Literal["very low", "low", "medium", "high", "very high"]
"""How fast things move; the buckets of FlashVideo's motion prefixes."""
Outcome = Literal["enhanced", "long_enough", "too_long", "refused", "unavailable"]
"""Whether there is an enhanced prompt, or why the user's own goes on: it is as long as a caption already, or too
long to be rewritten, no answer could be used, or the enhancer did not answer."""


class Enhanced(Value):
    """A prompt and what an enhancer made of it."""

    prompt: str
    """The user's, as it was given."""
    enhanced_prompt: Prompt | None = None
    """None where the user's own goes on."""
    kind: EnhancerKind
    outcome: Outcome
    motion: Motion | None = None
    """As the enhancer took it to be; None where it does not say."""
    notes: tuple[str, ...] = ()
    """For people: what was chosen, left out, mended or refused."""

    @property
    def told_prompt(self) -> str:
        """What the model reads."""
        return self.prompt if self.enhanced_prompt is None else self.enhanced_prompt
