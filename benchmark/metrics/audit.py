"""The one-run audit: how much privacy one unlearned model has demonstrably lost (METRICS 2.3).

Fair coins put each candidate into the forget set or the held-out set; an attack guesses the coins of those that it is
surest of. Steinke, Nasr & Jagielski, NeurIPS 2023, arXiv 2305.08846.
"""

import numpy as np
from numpy.typing import ArrayLike

from benchmark.api import Metric, Outputs, References, Signal, Value, register_metric
from benchmark.metrics._checks import number, numbers, same_shape
from benchmark.metrics.attacks import one_run_epsilon
from benchmark.metrics.membership import headline_attack

GUESSED = 5  # one candidate in so many is guessed
DELTA = 1e-5


def _value(label: str, signal: Signal) -> Value:
    return Value(label, "min", "forgetting", "number", signal=signal)


@register_metric(
    "one_run_audit",
    source="Steinke, Nasr, Jagielski, NeurIPS 2023, arXiv 2305.08846",
    values={
        "one_run_epsilon_phi": _value("epsilon, at least", "loss"),
        "one_run_epsilon_head": _value("epsilon, at least (head)", "similarity"),
    },
)
class OneRunAudit(Metric):
    """Defined only where fair coins parted forget and held-out images (`split/coins`); elsewhere nothing is said.

    It bounds the composed map, training and then unlearning, under random inclusion of the candidates: neither of the
    two steps alone, and no single image. 0 does not prove safety. Score, its two signs and the number of guesses are
    fixed in advance, so that nothing is chosen on the data that it is reported on.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        if not _coins(outputs):
            return {}
        attack, forget, heldout = headline_attack(outputs)
        bound = audit_epsilon(forget, heldout, outputs["forget/indices"], outputs["heldout/indices"])
        return {f"one_run_epsilon_{attack}": bound}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        if not _coins(outputs):
            return {}
        attack, forget, heldout = headline_attack(outputs)
        return {f"one_run_epsilon_{attack}": len(forget) + len(heldout)}


def audit_epsilon(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    member_indices: ArrayLike,
    nonmember_indices: ArrayLike,
    delta: float = DELTA,
    p_value: float = 0.05,
) -> float:
    """Lower confidence bound on epsilon when r = m / 5 (rounded down to even) of m candidates are guessed.

    The r / 2 largest scores are guessed in, the r / 2 smallest out; and the reverse, for over-forgetting leaks through
    the other sign. Each sign has half of the p-value, the larger bound counts. Equal scores are ordered by index, of
    which the coins knew nothing.

    Args:
        member_scores: [a], larger = more member-like.
        nonmember_scores: [b]; m = a + b.
        member_indices: [a], different numbers that do not depend on the coins, such as positions in the dataset.
        nonmember_indices: [b].
        delta: in [0, 1).
        p_value: in (0, 1).

    Returns:
        >= 0; 0 below ten candidates, of whom none is guessed.

    Raises:
        ValueError: NaN or infinity, an empty side, indices of other lengths, delta or p_value out of range.

    Source: Steinke, Nasr & Jagielski, NeurIPS 2023.

    >>> members, nonmembers = range(100, 200), range(100)
    >>> round(audit_epsilon(members, nonmembers, members, nonmembers, delta=0.0), 4)
    2.3371
    """
    name = "audit_epsilon"
    sides = [
        numbers(member_scores, f"{name}: member_scores", 1),
        numbers(nonmember_scores, f"{name}: nonmember_scores", 1),
    ]
    order = [
        numbers(member_indices, f"{name}: member_indices", 1),
        numbers(nonmember_indices, f"{name}: nonmember_indices", 1),
    ]
    for scores, indices in zip(sides, order, strict=True):
        same_shape(scores, indices, f"{name}: scores and indices")
    level = number(p_value, f"{name}: p_value", 0, 1, "()")
    member = np.repeat([True, False], [len(side) for side in sides])
    sorted_member = member[np.lexsort((np.concatenate(order), np.concatenate(sides)))]
    m = len(member)
    half = m // GUESSED // 2
    correct = int(sorted_member[m - half :].sum() + (~sorted_member[:half]).sum())
    return max(one_run_epsilon(m, 2 * half, v, delta, level / 2) for v in (correct, 2 * half - correct))


def _coins(outputs: Outputs) -> bool:
    return bool(outputs.get("split/coins", 0))
