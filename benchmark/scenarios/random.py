"""Forget images drawn at random from all classes: random-subset unlearning."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.api import Scenario, register_scenario
from benchmark.specs import SplitSpec


@register_scenario("random", description="images drawn at random from all classes")
@dataclass(frozen=True, kw_only=True)
class Random(Scenario):
    """Every training candidate may be forgotten.

    Attributes:
        fraction: Share of the training images (`split.train`) that is forgotten; `random:0.1` says 10 %.
        count: Their number, instead.
    """

    fraction: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.count is None):
            raise ValueError("say either `fraction` or `count`, and not both.")
        if self.fraction is not None:
            object.__setattr__(self, "fraction", _share(self.fraction))
        elif isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"count = {self.count!r} is no whole number above 0.")

    def eligible(
        self, labels: NDArray[np.int64], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return np.arange(len(labels))

    def forget_count(self, train: int, eligible: int, split: SplitSpec) -> int:
        return self.count if self.count is not None else round((self.fraction or 0.0) * train)


def _share(value: float | str) -> float:
    try:
        share = float(str(value))
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ValueError(f"fraction = {value!r} is not a number between 0 and 1.")
    return share
