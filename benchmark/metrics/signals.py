"""Per-example membership signals, computed in float64 from logits.

The margin phi is that of Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022,
2112.03570); the modified entropy that of Song & Mittal (USENIX Security 2021, 2003.10595). Attack scores are
larger for members: `phi`, and the negatives of the other three.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax
from scipy.stats import entropy as shannon_entropy

from benchmark.metrics._checks import Floats, Integers, at_least, numbers, whole_numbers


def phi(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Logit of the true-class probability: z_y - log sum_{c != y} exp z_c = log(p_y / (1 - p_y)).

    Args:
        logits: [n, C >= 2], finite.
        labels: [n], whole numbers in 0..C-1.

    Returns:
        [n], unbounded and finite; it does not saturate where the probability rounds to 0 or 1.

    Raises:
        ValueError: empty input, NaN or infinite logits, wrong shapes, labels outside 0..C-1.

    Source: Carlini et al., S&P 2022.

    >>> phi([[2.0, 0.0, 0.0]], [0]).round(4).tolist()
    [1.3069]
    """
    scores, classes = _logits_and_labels(logits, labels, "phi")
    rows = np.arange(len(classes))
    others = scores.copy()
    others[rows, classes] = -np.inf
    return np.asarray(scores[rows, classes] - logsumexp(others, axis=1))


def loss(margins: ArrayLike) -> Floats:
    """Cross-entropy log(1 + exp(-phi)) in nats, from the margins phi rather than from clipped probabilities.

    Args:
        margins: [n], values of `phi`.

    Returns:
        [n], in [0, inf). Strictly decreasing in phi, so that its AUC is the AUC of phi.

    Raises:
        ValueError: empty, not one-dimensional, NaN or infinity.

    >>> loss([0.0, 100.0]).tolist()
    [0.6931471805599453, 3.720075976020836e-44]
    """
    return np.asarray(np.logaddexp(0.0, -numbers(margins, "loss: margins", 1)))


def entropy(logits: ArrayLike) -> Floats:
    """Shannon entropy of the softmax, -sum_c p_c log p_c in nats, with 0 log 0 = 0.

    Args:
        logits: [n, C >= 2], finite.

    Returns:
        [n], in [0, ln C].

    Raises:
        ValueError: empty input, NaN or infinite logits, wrong shape.

    Source: Song & Mittal 2021.

    >>> entropy([[0.0, 0.0]]).round(4).tolist()
    [0.6931]
    """
    return np.asarray(shannon_entropy(softmax(_logits(logits, "entropy"), axis=1), axis=1))


def modified_entropy(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Compute the modified entropy -(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c), in nats.

    With the one-against-rest margin phi_c of every class, p_c = expit(phi_c), -log p_c = softplus(-phi_c) and
    -log(1 - p_c) = softplus(phi_c): nothing is clipped and nothing cancels.

    Args:
        logits: [n, C >= 2], finite.
        labels: [n], whole numbers in 0..C-1.

    Returns:
        [n], in [0, inf); small for a confident right answer, large for a confident wrong one.

    Raises:
        ValueError: empty input, NaN or infinite logits, wrong shapes, labels outside 0..C-1.

    Source: Song & Mittal, USENIX Security 2021.

    >>> modified_entropy([[1000.0, 0.0], [1000.0, 0.0]], [1, 0]).tolist()
    [2000.0, 0.0]
    """
    scores, classes = _logits_and_labels(logits, labels, "modified_entropy")
    margins = _one_against_rest(scores)
    rows = np.arange(len(classes))
    margins[rows, classes] *= -1  # the true class contributes (1 - p_y) log p_y, the others p_c log(1 - p_c)
    return np.asarray((expit(margins) * np.logaddexp(0.0, margins)).sum(axis=1))


def _logits_and_labels(logits: ArrayLike, labels: ArrayLike, function: str) -> tuple[Floats, Integers]:
    scores = _logits(logits, function)
    classes = whole_numbers(labels, f"{function}: labels", 1, 0, scores.shape[1] - 1)
    if len(classes) != len(scores):
        raise ValueError(f"{function}: {len(scores)} rows of logits, {len(classes)} labels; give one each.")
    return scores, classes


def _logits(logits: ArrayLike, function: str) -> Floats:
    scores = numbers(logits, f"{function}: logits", 2)
    at_least(scores.shape[1], 2, f"{function}: logits", "classes")
    with np.errstate(over="ignore"):
        spans = np.ptp(scores, axis=1)
    if not np.isfinite(spans).all():
        raise ValueError(f"{function}: logits[{int(np.argmax(spans))}] spans more than float64 can hold.")
    return scores


def _one_against_rest(scores: Floats) -> Floats:
    """Return z_c - log sum_{j != c} exp z_j for every class: [n, C], from running sums on both sides of c."""
    scores = scores - scores.max(axis=1, keepdims=True)
    nothing = np.full((len(scores), 1), -np.inf)
    before = np.logaddexp.accumulate(scores, axis=1)[:, :-1]
    after = np.logaddexp.accumulate(scores[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return np.asarray(scores - np.logaddexp(np.hstack([nothing, before]), np.hstack([after, nothing])))
