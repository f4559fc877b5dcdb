"""Measurements of encoders from their features.

The weighted nearest-neighbour classifier is that of Wu et al. (CVPR 2018, 1805.01978); the view-similarity
membership score is EncoderMI-T of Liu et al. (CCS 2021, 2108.11023).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.metrics._checks import Floats, Integers, at_least, number, numbers, whole_number, whole_numbers

QUERIES_AT_ONCE = 256


def weighted_knn(
    bank: ArrayLike,
    bank_labels: ArrayLike,
    queries: ArrayLike,
    *,
    num_classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> Integers:
    """Classify queries by their k nearest bank points in cosine, each voting exp(cosine / temperature).

    Cosines are rounded to 12 decimals, so that equal ones stay equal whatever the norms and the order of
    summation. Ties at the k-th place go to the first bank points, ties between classes to the lowest class.

    Args:
        bank: [B, D] features, none of zero length; normalised here.
        bank_labels: [B], whole numbers in 0..num_classes-1.
        queries: [Q, D].
        num_classes: at least 1.
        k: at least 1; lowered to B if larger.
        temperature: > 0.

    Returns:
        [Q] classes, int64.

    Raises:
        ValueError: a zero-length feature, labels out of range, unequal D or B, NaN.

    Source: Wu et al., CVPR 2018.

    >>> bank = [[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]]
    >>> weighted_knn(bank, [0, 1, 1], [[1.0, 0.0]], num_classes=2, k=3).tolist()
    [0]
    """
    classes = whole_number(num_classes, "weighted_knn: num_classes", 1)
    neighbours = whole_number(k, "weighted_knn: k", 1)
    heat = number(temperature, "weighted_knn: temperature", 0, ends="(]")
    points, asked = (
        _unit_vectors(bank, "weighted_knn: bank", 2),
        _unit_vectors(queries, "weighted_knn: queries", 2),
    )
    labels = whole_numbers(bank_labels, "weighted_knn: bank_labels", 1, 0, classes - 1)
    if len(labels) != len(points):
        raise ValueError(f"weighted_knn: {len(points)} bank points but {len(labels)} labels; give one each.")
    if points.shape[1] != asked.shape[1]:
        raise ValueError(
            f"weighted_knn: bank has {points.shape[1]} features and queries {asked.shape[1]}; same encoder."
        )
    batches = [
        _vote(
            asked[start : start + QUERIES_AT_ONCE] @ points.T,
            labels,
            min(neighbours, len(points)),
            heat,
            classes,
        )
        for start in range(0, len(asked), QUERIES_AT_ONCE)
    ]
    return np.concatenate(batches)


def encodermi_t(features: ArrayLike) -> Floats:
    """Mean cosine between the features of different views of one example: high if the encoder trained on it.

    Args:
        features: [n, A >= 2, D], no vector of zero length.

    Returns:
        [n], in [-1, 1].

    Raises:
        ValueError: fewer than two views, a zero vector, NaN, wrong shape.

    Source: EncoderMI-T, Liu et al., CCS 2021.

    >>> encodermi_t([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]]).round(4).tolist()
    [0.4714]
    """
    return np.asarray(_cosines(features, "encodermi_t").mean(axis=1))


def pairwise_cosines(features: ArrayLike) -> Floats:
    """Cosines between the features of all pairs of views i < j of one example, in the order 01, 02, ... 12.

    Args:
        features: [n, A >= 2, D], no vector of zero length.

    Returns:
        [n, A (A - 1) / 2], each in [-1, 1], unsorted.

    Raises:
        ValueError: fewer than two views, a zero vector, NaN, wrong shape.

    Source: EncoderMI-V, Liu et al., CCS 2021, uses these values sorted.

    >>> pairwise_cosines([[[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]]]).tolist()
    [[0.0, -1.0, 0.0]]
    """
    return _cosines(features, "pairwise_cosines")


def _vote(cosines: Floats, labels: Integers, k: int, temperature: float, num_classes: int) -> Integers:
    cosines = np.round(cosines, 12)
    kth = np.partition(cosines, -k, axis=1)[:, -k, None]
    near = cosines >= kth
    crowded = near.sum(axis=1) > k
    if crowded.any():
        near[crowded] = _first_at_the_kth_place(cosines[crowded], kth[crowded], k)
    rows, chosen = np.nonzero(near)
    with np.errstate(over="ignore"):
        votes = np.exp((cosines[rows, chosen] - cosines.max(axis=1)[rows]) / temperature)
    ballots = np.bincount(rows * num_classes + labels[chosen], votes, minlength=len(cosines) * num_classes)
    scores = ballots.reshape(len(cosines), num_classes)
    winners = scores >= scores.max(axis=1, keepdims=True) * (1 - 1e-12)  # equal up to the order of summation
    return np.asarray(np.argmax(winners, axis=1))


def _first_at_the_kth_place(cosines: Floats, kth: Floats, k: int) -> NDArray[np.bool_]:
    """The k nearest of each row [q, B] where more are as near as the k-th [q, 1]: of these the first."""
    nearer, level = cosines > kth, cosines == kth
    return np.asarray(nearer | (level & (np.cumsum(level, axis=1) <= k - nearer.sum(axis=1, keepdims=True))))


def _cosines(features: ArrayLike, function: str) -> Floats:
    views = _unit_vectors(features, f"{function}: features", 3)
    at_least(views.shape[1], 2, f"{function}: features", "views")
    first, second = np.triu_indices(views.shape[1], k=1)
    return np.asarray(np.clip((views @ views.transpose(0, 2, 1))[:, first, second], -1.0, 1.0))


def _unit_vectors(values: ArrayLike, name: str, ndim: int) -> Floats:
    """Divide vectors (last axis) by their lengths, scaled first so that no square over- or underflows."""
    vectors = numbers(values, name, ndim)
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    if not largest.all():
        index = [int(i) for i in np.argwhere(largest[..., 0] == 0)[0]]
        raise ValueError(f"{name}{index} has zero length (a collapsed feature); a direction is needed.")
    vectors = vectors / largest
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
