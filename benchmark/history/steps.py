"""Where a series steps: the piecewise constant fit with the least absolute deviations (L1), as asv makes it.

A Potts fit (Friedrich, Kempe, Liebscher & Winkler, J. Comp. Graph. Stat. 2008): for each number of segments the best
cut by dynamic programming; the number is the one with the least n log(mean absolute deviation) + 4 log(n) segments,
asv's penalty, which is of the kind of BIC. Own code: asv's is part of a program, and `ruptures` is large for a page.
"""

from bisect import insort
from collections.abc import Sequence

import numpy as np

_PENALTY = 4.0  # of a segment, in units of log(n)
LEAST_LENGTH = 2  # commits between two steps, METRICS 6
_MOST_SEGMENTS = 12


def segments(values: Sequence[float], noise: float = 0.0) -> list[int]:
    """Where segments begin, the first at 0.

    Args:
        values: [n], in order.
        noise: Mean absolute deviation that is there without any step, such as from a handful of seeds: fits are not
            believed to be better than that.
    """
    n = len(values)
    if n < 2 * LEAST_LENGTH or not np.isfinite(values).all():
        return [0]
    costs = _costs(values)
    most = min(_MOST_SEGMENTS, n // LEAST_LENGTH)
    least, before = _fits(costs, n, most)
    smallest = max(noise, 1e-9 * (float(np.abs(values).max()) or 1.0))
    scores = [n * np.log(max(least[k][n] / n, smallest)) + _PENALTY * np.log(n) * k for k in range(1, most + 1)]
    starts, end = [], n
    for k in range(int(np.argmin(scores)) + 1, 0, -1):
        end = before[k][end]
        starts.append(end)
    return starts[::-1]


def levels(values: Sequence[float], starts: Sequence[int]) -> list[float]:
    """The median of each segment."""
    ends = [*starts[1:], len(values)]
    return [float(np.median(values[start:end])) for start, end in zip(starts, ends, strict=True)]


def _fits(costs: list[list[float]], n: int, most: int) -> tuple[list[list[float]], list[list[int]]]:
    """For each number of segments k and each end: the least cost, and where its last segment begins."""
    least = [[0.0, *[np.inf] * n]]
    before = [[0] * (n + 1)]
    for _ in range(most):
        row, start = [np.inf] * (n + 1), [0] * (n + 1)
        for end in range(LEAST_LENGTH, n + 1):
            found = [least[-1][at] + costs[at][end] for at in range(end - LEAST_LENGTH + 1)]
            start[end] = int(np.argmin(found))
            row[end] = found[start[end]]
        least.append(row)
        before.append(start)
    return least, before


def _costs(values: Sequence[float]) -> list[list[float]]:
    """costs[i][j]: the sum of absolute deviations of values[i:j] from their median."""
    n = len(values)
    costs = [[0.0] * (n + 1) for _ in range(n)]
    for start in range(n):
        ordered: list[float] = []
        for end in range(start + 1, n + 1):
            insort(ordered, values[end - 1])
            half = len(ordered) // 2
            costs[start][end] = sum(ordered[len(ordered) - half :]) - sum(ordered[:half])
    return costs
