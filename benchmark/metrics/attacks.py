"""Summaries of membership-inference attacks: how well scores separate members (F) from non-members (H).

AUC and TPR at low FPR as in Carlini et al. (S&P 2022, 2112.03570), its interval by DeLong et al. (Biometrics
1988), the one-run audit of Steinke, Nasr & Jagielski (NeurIPS 2023, 2305.08846). Larger score = more
member-like. Every value is signed: an AUC below 0.5 is leakage too and is never folded.
"""

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import binom, norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from benchmark.metrics._checks import (
    Floats,
    at_least,
    number,
    numbers,
    probabilities,
    whole_number,
    whole_numbers,
)


class OperatingPoint(TypedDict):
    """One point of a ROC curve: rates in [0, 1], and whether the sample can resolve the target rate."""

    tpr: float
    fpr: float
    resolved: bool


def mia_auc(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> float:
    """Area under the ROC curve: P(member > non-member) + P(member = non-member) / 2.

    Args:
        member_scores: [m].
        nonmember_scores: [k].

    Returns:
        In [0, 1], signed: 0.5 without information, below 0.5 if members look like non-members.

    Raises:
        ValueError: empty, not one-dimensional, NaN or infinity.

    >>> mia_auc([0, 1, 2], [3, 4, 5])
    0.0
    """
    members, nonmembers = _scores(member_scores, nonmember_scores, "mia_auc")
    return float(roc_auc_score(_membership(members, nonmembers), np.concatenate([members, nonmembers])))


def delong_interval(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    confidence: float = 0.95,
) -> list[float]:
    """Confidence interval of `mia_auc` for one model, from the placement values of DeLong.

    Args:
        member_scores: [m >= 2].
        nonmember_scores: [k >= 2].
        confidence: in (0, 1).

    Returns:
        [low, high], normal approximation, clipped to [0, 1]. Zero width at perfect separation.

    Raises:
        ValueError: fewer than two scores a side, NaN, infinity, confidence outside (0, 1).

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 1988; placements by midranks.

    >>> [round(end, 4) for end in delong_interval([1, 2, 4], [0, 2, 3])]
    [0.0559, 1.0]
    """
    members, nonmembers = _scores(member_scores, nonmember_scores, "delong_interval")
    level = number(confidence, "delong_interval: confidence", 0, 1, "()")
    m, k = len(members), len(nonmembers)
    at_least(m, 2, "delong_interval: member_scores", "scores")
    at_least(k, 2, "delong_interval: nonmember_scores", "scores")
    ranks = rankdata(np.concatenate([members, nonmembers]))
    below_member = (ranks[:m] - rankdata(members)) / k  # share of non-members below each member
    above_nonmember = 1 - (ranks[m:] - rankdata(nonmembers)) / m  # share of members above each non-member
    auc = below_member.mean()
    variance = below_member.var(ddof=1) / m + above_nonmember.var(ddof=1) / k
    half_width = norm.isf((1 - level) / 2) * np.sqrt(variance)
    return [float(max(auc - half_width, 0.0)), float(min(auc + half_width, 1.0))]


def swap_auc(a_forget: ArrayLike, a_heldout: ArrayLike, b_forget: ArrayLike, b_heldout: ArrayLike) -> float:
    """Mean AUC of two arms that exchange F and H, so that a difference in difficulty cancels to first order.

    Arm a was trained on R and F and forgot F; arm b was trained on R and H and forgot H. Scores of the two
    models are never pooled.

    Args:
        a_forget: [m], scores of F under arm a.
        a_heldout: [k], scores of H under arm a.
        b_forget: [k], scores of H under arm b.
        b_heldout: [m], scores of F under arm b.

    Returns:
        In [0, 1], signed.

    Raises:
        ValueError: sizes that do not swap, and everything `mia_auc` rejects.

    Source: after the swapped splits of Tu, Hu & Ma, NeurIPS 2025 (2404.11577), as an AUC.

    >>> swap_auc([0.1, 0.2], [0.4, 0.5], [0.4, 0.5], [0.1, 0.2])
    0.5
    """
    first = _scores(a_forget, a_heldout, "swap_auc: arm a")
    second = _scores(b_forget, b_heldout, "swap_auc: arm b")
    if (len(first[0]), len(first[1])) != (len(second[1]), len(second[0])):
        raise ValueError(
            f"swap_auc: arm a has {len(first[0])} forget and {len(first[1])} held-out scores, arm b has "
            f"{len(second[0])} and {len(second[1])}; arm b forgets what arm a held out, so they must swap."
        )
    return (mia_auc(*first) + mia_auc(*second)) / 2


def tpr_at_fpr(member_scores: ArrayLike, nonmember_scores: ArrayLike, max_fpr: float) -> OperatingPoint:
    """True-positive rate at the largest achieved false-positive rate that does not exceed `max_fpr`.

    A score is called a member from the threshold upwards; ties move together and nothing is interpolated.

    Args:
        member_scores: [m].
        nonmember_scores: [k].
        max_fpr: in (0, 1].

    Returns:
        tpr, the achieved fpr <= max_fpr, and resolved: whether k allows one false positive at all; if not,
        the point is that of FPR 0.

    Raises:
        ValueError: max_fpr outside (0, 1], and everything `mia_auc` rejects.

    Source: Carlini et al., S&P 2022.

    >>> tpr_at_fpr([8.5, 7.5], [1, 2, 3, 8], 0.3)
    {'tpr': 1.0, 'fpr': 0.25, 'resolved': True}
    """
    members, nonmembers = _scores(member_scores, nonmember_scores, "tpr_at_fpr")
    target = number(max_fpr, "tpr_at_fpr: max_fpr", 0, 1, "(]")
    fpr, tpr = _roc(members, nonmembers)
    last = np.searchsorted(fpr, target, side="right") - 1
    return {"tpr": float(tpr[last]), "fpr": float(fpr[last]), "resolved": 1 / len(nonmembers) <= target}


def roc_on_grid(member_scores: ArrayLike, nonmember_scores: ArrayLike, fpr_grid: ArrayLike) -> Floats:
    """True-positive rates on a grid of false-positive rates, by the rule of `tpr_at_fpr` (a step curve).

    Args:
        member_scores: [m].
        nonmember_scores: [k].
        fpr_grid: [g], each in [0, 1].

    Returns:
        [g], each in [0, 1]: TPR at the largest achieved FPR that does not exceed the grid value.

    Raises:
        ValueError: grid values outside [0, 1], and everything `mia_auc` rejects.

    >>> roc_on_grid([10, 9, 1], [9.5, 0], [0.0, 0.49, 0.5, 1.0]).round(3).tolist()
    [0.333, 0.333, 1.0, 1.0]
    """
    members, nonmembers = _scores(member_scores, nonmember_scores, "roc_on_grid")
    grid = probabilities(fpr_grid, "roc_on_grid: fpr_grid", 1)
    fpr, tpr = _roc(members, nonmembers)
    return np.asarray(tpr[np.searchsorted(fpr, grid, side="right") - 1])


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: sum over distinct scores, descending, of (recall step) * precision.

    Args:
        labels: [n], 1 for a member, 0 for a non-member; at least one 1.
        scores: [n].

    Returns:
        In (0, 1]; the base rate if scores carry no information. Tied scores are one step.

    Raises:
        ValueError: no positive, labels other than 0 and 1, unequal lengths, NaN or infinity.

    >>> average_precision([1, 0, 0, 0], [1, 1, 1, 1])
    0.25
    """
    truth = whole_numbers(labels, "average_precision: labels", 1, 0, 1)
    values = numbers(scores, "average_precision: scores", 1)
    if len(truth) != len(values):
        raise ValueError(f"average_precision: {len(truth)} labels for {len(values)} scores; give one each.")
    if not truth.any():
        raise ValueError("average_precision: labels hold no 1; recall needs at least one member.")
    return float(average_precision_score(truth, values))


def one_run_epsilon(
    n_candidates: int, n_guesses: int, n_correct: int, delta: float = 1e-5, p_value: float = 0.05
) -> float:
    """Lower confidence bound on the privacy parameter epsilon from the guesses of one attack on one model.

    Every candidate was in training by an independent fair coin; the attacker guesses some, abstains on
    others.

    Args:
        n_candidates: m, the number of coins.
        n_guesses: r <= m, fixed before looking at the data.
        n_correct: v <= r.
        delta: in [0, 1).
        p_value: in (0, 1); the bound holds with probability at least 1 - p_value.

    Returns:
        The smallest epsilon >= 0 whose p-value reaches `p_value`, to 1e-6 (rounded down).

    Raises:
        ValueError: counts that are not m >= r >= v >= 0, m = 0, delta or p_value out of range.

    Source: Steinke, Nasr & Jagielski, NeurIPS 2023 (2305.08846).

    >>> round(one_run_epsilon(20, 20, 20, delta=0.0), 4)
    1.8227
    """
    m = whole_number(n_candidates, "one_run_epsilon: n_candidates", 1)
    r = whole_number(n_guesses, "one_run_epsilon: n_guesses")
    v = whole_number(n_correct, "one_run_epsilon: n_correct")
    slack = number(delta, "one_run_epsilon: delta", 0, 1, "[)")
    level = number(p_value, "one_run_epsilon: p_value", 0, 1, "()")
    if not m >= r >= v:
        raise ValueError(f"one_run_epsilon: {m} candidates, {r} guesses, {v} correct; they must not rise.")
    low, high = 0.0, 1.0
    if _guessing_p_value(low, m, r, v, slack) >= level:
        return low
    while _guessing_p_value(high, m, r, v, slack) < level:
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = (low + high) / 2
        if _guessing_p_value(middle, m, r, v, slack) >= level:
            high = middle
        else:
            low = middle
    return low


def _scores(member_scores: ArrayLike, nonmember_scores: ArrayLike, function: str) -> tuple[Floats, Floats]:
    members = numbers(member_scores, f"{function}: member_scores", 1)
    return members, numbers(nonmember_scores, f"{function}: nonmember_scores", 1)


def _membership(members: Floats, nonmembers: Floats) -> Floats:
    return np.concatenate([np.ones(len(members)), np.zeros(len(nonmembers))])


def _roc(members: Floats, nonmembers: Floats) -> tuple[Floats, Floats]:
    """Every achieved (fpr, tpr), both ascending from (0, 0) to (1, 1), one point per distinct score."""
    truth = _membership(members, nonmembers)
    fpr, tpr, _ = roc_curve(truth, np.concatenate([members, nonmembers]), drop_intermediate=False)
    return fpr, tpr


def _guessing_p_value(epsilon: float, m: int, r: int, v: int, delta: float) -> float:
    """Bound the probability of v or more correct guesses of r under (epsilon, delta)-privacy.

    With B ~ Bin(r, expit(epsilon)): p = P[B >= v] + 2 m delta max_{1 <= i <= v} P[v - i <= B < v] / i, capped
    at 1.
    """
    if v == 0:
        return 1.0
    windows = np.arange(1, v + 1)
    accuracy = expit(epsilon)
    just_below = binom.cdf(v - 1, r, accuracy) - binom.cdf(v - 1 - windows, r, accuracy)
    return float(min(1.0, binom.sf(v - 1, r, accuracy) + 2 * m * delta * (just_below / windows).max()))
