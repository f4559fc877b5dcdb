"""Forget whole classes: the retain set holds none of their images (class-level unlearning)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.api import BenchmarkError, Scenario, register_scenario


@register_scenario("class", description="all images of one class or several")
@dataclass(frozen=True, kw_only=True)
class FullClass(Scenario):
    """Their images are shared out between forget, held-out and third-party sets; none is retained.

    Attributes:
        classes: Labels: one, or a list; `class:3` and `class:3,5` say the same in short.
    """

    exclusive: ClassVar[bool] = True

    classes: int | str | Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", _labels(self.classes))

    def eligible(
        self, labels: NDArray[np.int64], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        present = np.unique(labels)
        for label in np.setdiff1d(self.classes, present)[:1]:
            raise BenchmarkError(
                f"scenario 'class': no training image has label {label}; {present[0]}..{present[-1]} exist."
            )
        return np.flatnonzero(np.isin(labels, self.classes))


def _labels(value: int | str | Sequence[int]) -> tuple[int, ...]:
    """Labels from any of the forms in which they may be said."""
    said = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    try:
        labels = tuple(int(label) for label in said if not isinstance(label, (bool, float)))
    except (TypeError, ValueError):
        labels = ()
    if not labels or len(labels) != len(said):
        raise ValueError(f"classes = {value!r} is neither a label nor a list of labels like [3, 5].")
    return labels
