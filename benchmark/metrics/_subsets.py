"""Subsets that are the same for every model: chosen by position alone, as sets are stored in the dataset's order."""

import numpy as np

from benchmark.metrics._checks import Integers


def evenly_spaced(count: int, wanted: int) -> Integers:
    """[wanted] different positions in 0..count-1, as evenly spaced as can be; all of them if fewer are there.

    >>> evenly_spaced(10, 4).tolist()
    [0, 2, 5, 7]
    """
    wanted = min(wanted, count)
    return np.arange(wanted) * count // wanted


def halves(count: int) -> tuple[Integers, Integers]:
    """Every other position in 0..count-1, and the rest.

    >>> [half.tolist() for half in halves(5)]
    [[0, 2, 4], [1, 3]]
    """
    return np.arange(0, count, 2), np.arange(1, count, 2)
