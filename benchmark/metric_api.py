"""The contract of metrics: what they are given, what they return, and what their numbers mean.

Plug-ins import all of it from `benchmark.api`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.registry import register
from benchmark.specs import PARADIGMS, Goal, Role, Signal, Tier, Unit

Needs = Literal["run", "relearning", "seeds", "pairs", "ensemble"]
Outputs = Mapping[str, NDArray[Any]]
"""What was observed of one model: `forget/logits` [n, C], `test/labels` [n], `retain/features` [n, D], …"""


@dataclass(frozen=True)
class References:
    """The outputs that a model is held against, and a place for what need not be computed for each model anew."""

    original: Outputs
    retrained: Outputs
    memo: dict[str, dict[str, float]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Population:
    """Outputs of many models of one task, one per seed: what population metrics read beside the models they score.

    Attributes:
        seeds: [S] training seeds, increasing. Where the task's split is in pairs, 2j and 2j+1 share one pool.
        original: The models before unlearning, in the order of the seeds.
        retrained: Models that never saw the pool, in the same order.
        paired: Whether every seed has its partner, who forgot what this one was never shown.
    """

    seeds: tuple[int, ...]
    original: Sequence[Outputs]
    retrained: Sequence[Outputs]
    paired: bool


@dataclass(frozen=True)
class Value:
    """What a metric's number means: feeds tables, axes and ranks. Headline numbers are columns of the leaderboard."""

    label: str
    goal: Goal
    role: Role = "info"
    unit: Unit = "fraction"
    attack: bool = False
    headline: bool = False
    signal: Signal | None = None


@dataclass(frozen=True)
class Finding:
    """One number of a population, with what it is made of.

    Attributes:
        value: The number.
        n: Examples that it rests on.
        low: Lower end of its 95 % interval, where there is one.
        high: Upper end.
        per_seed: [S] where the number is a mean over seeds.
        per_example: [n] where it is a mean over the examples of the pool, in the order of their indices.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    per_seed: Sequence[float] = ()
    per_example: Sequence[float] = ()


@dataclass(frozen=True)
class MetricInfo:
    """A registered family of numbers."""

    name: str
    paradigms: frozenset[str]
    values: Mapping[str, Value]
    source: str
    tier: Tier
    needs: Needs


class Metric(ABC):
    """Scores saved outputs, never a live model."""

    @abstractmethod
    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        """Value name -> number, for one model; a value that its outputs do not allow is left out."""

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        """Value name -> number of examples that it rests on."""
        raise NotImplementedError

    def intervals(self, outputs: Outputs) -> dict[str, tuple[float, float]]:
        """Value name -> 95 % interval from this model's examples alone, where there is one."""
        return {}

    def notes(self, outputs: Outputs) -> dict[str, str]:
        """Value name -> why the number cannot be ranked, such as "too few non-members"."""
        return {}

    def scores(self, outputs: Outputs) -> dict[str, dict[str, NDArray[np.float64]]]:
        """For attacks: value name -> set name -> [n] scores, larger = more member-like."""
        return {}


class PopulationMetric(ABC):
    """Scores the saved outputs of many seeds' models together."""

    @abstractmethod
    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        """Value name -> finding for one model per seed: the unlearned ones, the originals, or retrained ones.

        It is asked about retrained models only if all its goals are `match_retrained`.
        """


def register_metric(
    name: str,
    *,
    values: Mapping[str, Value],
    source: str,
    paradigms: Collection[str] = PARADIGMS,
    tier: Tier = "every_run",
    needs: Needs = "run",
) -> Callable[[type], type]:
    """Register a metric family with the meaning of each of its numbers.

    Args:
        name: Its name in suites.
        values: Each number that it may give, with its meaning.
        source: Authors, title, venue or arXiv id.
        paradigms: Where it is defined.
        tier: The group by which suites choose it.
        needs: What it reads: one "run", or also what "relearning" leaves of it; for a PopulationMetric all "seeds" of a
            task, seeds in "pairs" that forget complementary halves of a pool, or an "ensemble": such pairs on one pool
            for all seeds.
    """
    return register("metric", name, MetricInfo(name, frozenset(paradigms), dict(values), source, tier, needs))
