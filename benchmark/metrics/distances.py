"""Distances between what two models, or two ensembles of models, output.

Jensen-Shannon divergence as in ZRF (Chundawat et al., AAAI 2023, 2205.08096) but summed over classes; energy
distance as the unbiased statistic of Szekely & Rizzo (J. Stat. Planning and Inference 2013); linear CKA of
Kornblith et al. (ICML 2019, 1905.00414), debiased with the HSIC estimator of Song et al. (JMLR 2012).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from benchmark.metrics._checks import (
    Floats,
    at_least,
    centred,
    numbers,
    probabilities,
    same_columns,
    same_shape,
)


def js_divergence(p: ArrayLike, q: ArrayLike) -> float:
    """Jensen-Shannon divergence KL(p||a)/2 + KL(q||a)/2, a = (p + q)/2: summed over classes, mean of rows.

    `scipy.spatial.distance.jensenshannon` is not used: for rows that agree up to rounding it takes the root
    of a negative number.

    Args:
        p: [n, C] probabilities, rows summing to 1 within 1e-4 (then normalised).
        q: [n, C] likewise.

    Returns:
        In [0, ln 2], nats; ln 2 for disjoint supports whatever C.

    Raises:
        ValueError: rows that do not sum to 1, entries outside [0, 1], unequal shapes, empty, NaN.

    Source: ZRF, Chundawat et al., AAAI 2023.

    >>> js_divergence([[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]])
    0.0
    """
    first, second = _distributions(p, "js_divergence: p"), _distributions(q, "js_divergence: q")
    same_shape(first, second, "js_divergence: p and q")
    middle = (first + second) / 2
    rows = (rel_entr(first, middle) + rel_entr(second, middle)).sum(axis=1) / 2
    return float(np.clip(rows, 0.0, np.log(2.0)).mean())


def energy_distance(unlearned: ArrayLike, retrained: ArrayLike, *, normalise: bool, paired: bool) -> Floats:
    """Unbiased energy distance of every column: 2 mean|u - v| - mean|u - u'| - mean|v - v'|.

    Within a side only distinct units are compared. All sums come from sorted samples, O(N log N).

    Args:
        unlearned: [N >= 2, n]; axis 0 is the sampled unit (models, or examples of one model).
        retrained: [M >= 2, n].
        normalise: divide by the standard deviation (ddof 1) of the retrained column.
        paired: unit i is the same on both sides (N = M); the cross term then leaves out i = j.

    Returns:
        [n]; mean 0 between two samples of one law, may be negative, never clipped. In units of the input, or
        in retrained standard deviations.

    Raises:
        ValueError: fewer than two units, unequal columns, paired with N != M, zero spread with `normalise`,
            NaN.

    Source: Szekely & Rizzo 2013.

    >>> energy_distance([[10.0], [11.0]], [[0.0], [1.0]], normalise=False, paired=False).tolist()
    [18.0]
    """
    u = numbers(unlearned, "energy_distance: unlearned", 2)
    v = numbers(retrained, "energy_distance: retrained", 2)
    same_columns(u, v, "energy_distance: unlearned and retrained")
    at_least(len(u), 2, "energy_distance: unlearned", "units")
    at_least(len(v), 2, "energy_distance: retrained", "units")
    within_u, within_v = _sum_of_gaps(u), _sum_of_gaps(v)
    cross = _sum_of_gaps(np.concatenate([u, v])) - within_u - within_v
    cross_pairs = len(u) * len(v)
    if paired:
        same_shape(u, v, "energy_distance: paired samples")
        cross -= np.abs(u - v).sum(axis=0)
        cross_pairs -= len(u)
    distance = 2 * cross / cross_pairs - _mean_gap(within_u, len(u)) - _mean_gap(within_v, len(v))
    if normalise:
        spread = np.sqrt((centred(v) ** 2).sum(axis=0) / (len(v) - 1))
        if not spread.all():
            column = int(np.argmin(spread))
            raise ValueError(f"energy_distance: retrained column {column} is constant; it cannot normalise.")
        distance = distance / spread
    return np.asarray(distance)


def cka(x: ArrayLike, y: ArrayLike, debiased: bool = True) -> float:
    """Linear centred kernel alignment of two feature matrices of the same examples.

    Args:
        x: [n, D1], n >= 2, or 4 if debiased.
        y: [n, D2].
        debiased: use the unbiased HSIC, whose value for independent features is 0 whatever n and D.

    Returns:
        Biased: in [0, 1]. Debiased: at most about 1, may be negative. Invariant to rotation, isotropic scale
            and offset.

    Raises:
        ValueError: different n, too few examples, features without variance (or without positive unbiased
            HSIC), NaN.

    Source: Kornblith et al., ICML 2019; Song et al., JMLR 2012; Nguyen et al., ICLR 2021 (2010.15327).

    >>> round(cka([[0.0], [1.0], [2.0]], [[0.0], [1.0], [1.0]], debiased=False), 4)
    0.75
    """
    first, second = numbers(x, "cka: x", 2), numbers(y, "cka: y", 2)
    if len(first) != len(second):
        raise ValueError(f"cka: x has {len(first)} rows and y {len(second)}; they must be the same examples.")
    at_least(len(first), 4 if debiased else 2, "cka: x", "examples")
    first, second = _unit_scale(first, "cka: x"), _unit_scale(second, "cka: y")
    similarity = _unbiased_hsic if debiased else _biased_hsic
    of_x, of_y = similarity(first, first), similarity(second, second)
    if min(of_x, of_y) <= 1e-12:  # both matrices have unit norm: below this is rounding
        name = "x" if of_x <= of_y else "y"
        raise ValueError(f"cka: {name} has no positive HSIC with itself; use more examples.")
    return float(similarity(first, second) / np.sqrt(of_x * of_y))


def _distributions(values: ArrayLike, name: str) -> Floats:
    rows = probabilities(values, name, 2)
    sums = rows.sum(axis=1, keepdims=True)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst, 0] - 1) > 1e-4:
        raise ValueError(f"{name}[{worst}] sums to {sums[worst, 0]:g}; rows of probabilities sum to 1.")
    return np.asarray(rows / sums)


def _sum_of_gaps(sample: Floats) -> Floats:
    """Sum over i < j of |x_i - x_j| per column: the order statistic of rank i enters 2 i - N + 1 times."""
    rank_weights = 2.0 * np.arange(len(sample)) - (len(sample) - 1)
    return np.asarray(rank_weights @ np.sort(centred(sample), axis=0))


def _mean_gap(sum_of_gaps: Floats, units: int) -> Floats:
    return sum_of_gaps / (units * (units - 1) / 2)


def _unit_scale(features: Floats, name: str) -> Floats:
    """Centre the columns and divide by the Frobenius norm, which CKA does not see."""
    features = centred(features)
    largest = np.abs(features).max()
    if largest == 0:
        raise ValueError(f"{name} has no variance; every example has the same features.")
    features = features / largest
    return np.asarray(features / np.linalg.norm(features))


def _biased_hsic(x: Floats, y: Floats) -> float:
    return float(np.sum((y.T @ x) ** 2))


def _unbiased_hsic(x: Floats, y: Floats) -> float:
    """Compute tr(K~L~) + (1'K~1)(1'L~1)/((n-1)(n-2)) - 2/(n-2) 1'K~L~1 without any n x n matrix.

    K~ is the Gram matrix with zero diagonal. Columns are centred, so its row sums are minus its former
    diagonal.
    """
    n = len(x)
    diagonal_x, diagonal_y = (x**2).sum(axis=1), (y**2).sum(axis=1)
    diagonals = diagonal_x @ diagonal_y
    trace = np.sum((y.T @ x) ** 2) - diagonals
    return float(trace + diagonal_x.sum() * diagonal_y.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * diagonals)
