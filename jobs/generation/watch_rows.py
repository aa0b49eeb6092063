"""The one place of a launch that knows who is at work on what: an actor that all stages' actors tell.

It counts the deaths that a row has caused, lets nobody begin while the launch drains, and adds up seconds. It is on the
driver's node, and lives as long as the driver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import ray
from pydantic import Field
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fv_ray.artifact_store import Stage
from fv_ray.types import Value

STAGES: tuple[Stage, ...] = ("stage_one", "stage_two")


class StageFigures(Value):
    """What the actors of one stage have done in this launch."""

    num_workers: int = 0
    """Processes that have loaded the stage's weights."""
    num_made: int = 0
    num_reused: int = 0
    """That another launch had left."""
    num_tried: int = 0
    """Attempts that were begun by an actor that lives."""
    num_failed: int = 0
    num_lost: int = 0
    """Attempts whose process died."""
    useful_s: float = 0
    """On the device, for what was made."""
    failed_s: float = 0
    """On the device, for what came to nothing."""
    warm_up_s: float = 0
    """To load and warm up."""
    phase_s: dict[str, float] = Field(default_factory=dict)
    """Of what was made."""


class RowBoard:
    """An actor; see the module."""

    def __init__(self) -> None:
        self._is_draining = False
        self._at_work: dict[str, tuple[Stage, str]] = {}
        self._open: dict[tuple[Stage, str], list[str]] = defaultdict(list)
        self._counts: dict[Stage, dict[str, float]] = {stage: defaultdict(float) for stage in STAGES}
        self._phases: dict[Stage, dict[str, float]] = {stage: defaultdict(float) for stage in STAGES}

    def loaded(self, stage: Stage, seconds: float) -> None:
        """An actor's process is ready."""
        self._counts[stage]["num_workers"] += 1
        self._counts[stage]["warm_up_s"] += seconds

    def begin(self, stage: Stage, key: str, actor: str, node: str) -> int | None:
        """An actor wants to begin a row: how many attempts died of it; None: it must not, the launch drains.

        A death counts unless its node has died as well: then the row was only there.
        """
        self._at_work.pop(actor, None)  # it has died there, if anything
        if self._is_draining:
            return None
        died = self._open[stage, key]
        self._counts[stage]["num_lost"] += bool(died)  # the last of them; earlier ones were counted at their time
        alive = {each["NodeID"] for each in ray.nodes() if each["Alive"]} if died else set()
        self._at_work[actor] = (stage, key)
        num_died = sum(place in alive for place in died)
        died.append(node)
        return num_died

    def end(
        self, stage: Stage, key: str, actor: str, figures: Mapping[str, float], phases: Mapping[str, float]
    ) -> None:
        """An actor is done with a row, however that ended."""
        self._at_work.pop(actor, None)
        self._open.pop((stage, key), None)
        for name, number in figures.items():
            self._counts[stage][name] += number
        for name, seconds in phases.items():
            self._phases[stage][name] += seconds

    def drain(self) -> None:
        """Let nobody begin any more."""
        self._is_draining = True

    def num_at_work(self) -> int:
        """Rows that are being made."""
        return len(self._at_work)

    def figures(self) -> dict[Stage, dict[str, Any]]:
        """Of each stage, as `StageFigures` has them."""
        return {stage: {**self._counts[stage], "phase_s": dict(self._phases[stage])} for stage in STAGES}


def start_board() -> ActorHandle:
    """Start the board beside the driver; it needs no CPU of its own."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(RowBoard).options(num_cpus=0, scheduling_strategy=here).remote()


def read_figures(board: ActorHandle) -> dict[Stage, StageFigures]:
    """What the board knows."""
    told = ray.get(board.figures.remote())
    return {stage: StageFigures.model_validate(told[stage]) for stage in STAGES}
