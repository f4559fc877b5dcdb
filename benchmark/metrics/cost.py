"""What unlearning costs beside retraining.

Times are measured by the rules of AlgoPerf, Dahl et al. (2023, 2306.07179); the ratio is this project's.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import gmean

from benchmark.metrics._checks import numbers, reject


def speedup(retrain_seconds: ArrayLike, unlearn_seconds: ArrayLike, precompute_seconds: ArrayLike) -> float:
    """Geometric mean over seeds of median(retrain) / (median(unlearn) + precompute).

    Args:
        retrain_seconds: [S, r] repeats per seed, > 0.
        unlearn_seconds: [S, q] repeats per seed, > 0.
        precompute_seconds: [S], >= 0: what the method stored while the original trained.

    Returns:
        In (0, inf); 1 if unlearning costs as much as retraining.

    Raises:
        ValueError: a measured time <= 0, a negative precompute time, different S, NaN.

    >>> round(speedup([[100.0], [100.0]], [[10.0], [40.0]], [0.0, 0.0]), 9)
    5.0
    """
    retrain = numbers(retrain_seconds, "speedup: retrain_seconds", 2)
    unlearn = numbers(unlearn_seconds, "speedup: unlearn_seconds", 2)
    precompute = numbers(precompute_seconds, "speedup: precompute_seconds", 1)
    if not len(retrain) == len(unlearn) == len(precompute):
        raise ValueError(f"speedup: {len(retrain)}, {len(unlearn)}, {len(precompute)} seeds; use the same.")
    reject(retrain <= 0, retrain, "speedup: retrain_seconds", "positive, as a zero time is a broken clock")
    reject(unlearn <= 0, unlearn, "speedup: unlearn_seconds", "positive, as a zero time is a broken clock")
    reject(precompute < 0, precompute, "speedup: precompute_seconds", "0 or more seconds")
    return float(gmean(np.median(retrain, axis=1) / (np.median(unlearn, axis=1) + precompute)))
