"""The rules of decision: METRICS 6, with a family-wise bound on false alarms and a rule for fewer than seven seeds.

A number is worse if its paired seeds say so, after Holm over all that was compared, and by more than exact retraining
is apart from itself (the oracle floor). Seeds say so by the paired t-test or, from seven on, by the Mann-Whitney test
of METRICS 6, which is unpaired: it stands outliers, but sees no change that is smaller than the spread of seeds. For
Holm the smaller of two p-values counts twofold. Fewer than three seeds decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from warnings import catch_warnings

import numpy as np

from benchmark.report.columns import estimate
from benchmark.report.model import Estimate
from benchmark.specs import Goal, MetricValue
from benchmark.stats import paired_difference, regression_decision

Decision = Literal["worse", "changed", "better", "same", "cannot tell"]
Direction = Literal["max", "min"]

ALPHA = 0.002  # of one test, METRICS 6
FAMILY = 0.05  # of all tests of a kind in one comparison, adjusted by Holm
LEAST, MANY = 3, 7  # seeds: for any decision, for the second test
SLOWER = 1.05  # least ratio of medians that counts, METRICS 6
_EXACT = 1e-6  # relative difference that a number of the same outputs may have, METRICS 6


def judged(value: MetricValue) -> float:
    """What is held against each other: the distance to the retrained model where that is the goal, else the value."""
    return abs(value.gap) if value.goal == "match_retrained" else value.value


def direction(goal: Goal) -> Direction:
    """Which way is better for what is judged."""
    return "max" if goal == "max" else "min"


@dataclass(frozen=True)
class Test:
    """What paired seeds say of one number.

    Attributes:
        seeds: How many pairs.
        change: Mean of after - before with its 95 % t-interval.
        effect: Median of after - before, signed so that positive is worse.
        p_value: Two-sided, the smaller one of two tests; None if the seeds are too few to be tested.
        tests: How many were made.
        divided: Whether the mean says the opposite of the median: most seeds one way, a few far the other.
    """

    seeds: int
    change: Estimate
    effect: float
    p_value: float | None
    tests: int = 1
    divided: bool = False

    @property
    def counted(self) -> float | None:
        """The p-value that Holm counts."""
        return None if self.p_value is None else min(1.0, self.tests * self.p_value)


def examined(before: Sequence[float], after: Sequence[float], better: Direction) -> Test:
    """Test one number.

    Args:
        before: [S], a value per seed.
        after: [S], the same seeds in the same order.
        better: Which way is better.
    """
    differences = np.subtract(after, before)
    worsened = -differences if better == "max" else differences
    effect = float(np.median(worsened))
    divided = effect * float(worsened.mean()) < 0
    p_value: float | None = None
    if len(before) >= LEAST:
        with catch_warnings(action="ignore", category=RuntimeWarning):  # of differences that are nearly the same
            p_value = paired_difference(after, before)["p_value"]
    if p_value is not None and len(before) >= MANY:
        unpaired = regression_decision(before, after, better, 0.0, ALPHA)["p_value"]
        return Test(len(before), estimate(differences.tolist()), effect, min(p_value, unpaired), 2, divided)
    return Test(len(before), estimate(differences.tolist()), effect, p_value, divided=divided)


def decided(test: Test, floor: float | None, adjusted: float | None, directed: bool = True) -> tuple[Decision, str]:
    """The decision on one number, and why.

    Args:
        test: Of its seeds.
        floor: How large a change must be to count; None if that is not known.
        adjusted: The p-value after Holm; None if there is none.
        directed: Whether one way is worse; where none is, a change is just a change.
    """
    if floor is None:
        return "cannot tell", "no exact method was run, so how far retraining is from itself is not known"
    if test.p_value is None or adjusted is None:
        return "cannot tell", f"{_seeds(test.seeds)}, and {LEAST} are the least that decide"
    clear = test.p_value < ALPHA and adjusted <= FAMILY
    if clear and abs(test.effect) > floor and test.divided:
        return "cannot tell", f"most of {_seeds(test.seeds)} moved one way and a few further the other"
    if clear and abs(test.effect) > floor:
        word: Decision = "changed" if not directed else "worse" if test.effect > 0 else "better"
        return word, f"{_seeds(test.seeds)}, {_p(adjusted)} after Holm"
    if inside(test.change, floor):
        return "same", "within the noise of retraining"
    if clear:
        return "same", "clear, but smaller than the noise of retraining"
    return "cannot tell", f"{_seeds(test.seeds)} leave it open, {_p(test.p_value)}"


def same_number(before: MetricValue, after: MetricValue) -> bool:
    """Whether two numbers of the same outputs agree, anchors included."""
    pairs = [(getattr(before, part), getattr(after, part)) for part in ("value", "original", "retrained")]
    return all(abs(old - new) <= _EXACT * max(abs(old), abs(new), 1e-6) for old, new in pairs)


def inside(change: Estimate, floor: float) -> bool:
    """Whether the whole interval of a change is no larger than a floor."""
    return change.low is not None and change.high is not None and max(-change.low, change.high) <= floor


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _p(value: float) -> str:
    return "p < .0001" if value < 1e-4 else f"p = {value:.2g}" if value < 0.995 else "p = 1"
