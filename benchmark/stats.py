"""Statistics over training seeds, tasks and methods: intervals, tests, ranks and decisions.

The unit is the training seed. Interquartile mean and stratified bootstrap follow Agarwal et al. (NeurIPS
2021, 2108.13264), rank intervals Mogstad et al. (Rev. Econ. Stud. 2024), equivalence tests Schuirmann (1987).
"""

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu, rankdata, t, trim_mean, ttest_rel
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from benchmark.metrics._checks import (
    Floats,
    at_least,
    centred,
    number,
    numbers,
    one_of,
    probabilities,
    reject,
    same_shape,
    whole_number,
    whole_numbers,
)


class Interval(TypedDict):
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


class Difference(Interval):
    """The interval of a mean paired difference and the two-sided p-value of its being zero."""

    p_value: float


class Validity(TypedDict):
    """Lower end of the interval of the AUC on the original model, and whether it is above 0.5."""

    low: float
    valid: bool


class Holm(TypedDict):
    """Adjusted p-values and decisions, in the order of the input."""

    adjusted: list[float]
    reject: list[bool]


class Equivalence(TypedDict):
    """The larger of two one-sided p-values, and whether equivalence is established."""

    p_value: float
    equivalent: bool


class Regression(TypedDict):
    """p-value, effect (positive = worse) and `regression`, `improvement` or `no_change`."""

    p_value: float
    effect: float
    verdict: str


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean and Student interval mean -+ t_{S-1} sd / sqrt(S).

    Args:
        values: [S >= 2], one per training seed.
        confidence: in (0, 1).

    Returns:
        mean, low, high; zero width if all values are equal.

    Raises:
        ValueError: fewer than two seeds, NaN (a failed seed is not dropped), confidence out of range.

    >>> t_interval([3, 3, 3])
    {'mean': 3.0, 'low': 3.0, 'high': 3.0}
    """
    return _t_interval(values, confidence, "t_interval: values")


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> list[float]:
    """Exact binomial interval: Beta quantiles (alpha/2; x, n-x+1) and (1-alpha/2; x+1, n-x).

    Args:
        successes: x in 0..trials.
        trials: n >= 1.
        confidence: in (0, 1).

    Returns:
        [low, high] in [0, 1]; low is 0 at x = 0, high is 1 at x = n.

    Raises:
        ValueError: no trials, more successes than trials, counts that are not whole, confidence out of range.

    Source: Clopper & Pearson, Biometrika 1934.

    >>> [round(end, 4) for end in clopper_pearson(0, 10)]
    [0.0, 0.3085]
    """
    n = whole_number(trials, "clopper_pearson: trials", 1)
    x = whole_number(successes, "clopper_pearson: successes")
    level = number(confidence, "clopper_pearson: confidence", 0, 1, "()")
    if x > n:
        raise ValueError(f"clopper_pearson: {x} successes in {n} trials; there cannot be more than trials.")
    low, high = proportion_confint(x, n, alpha=1 - level, method="beta")
    return [float(low), float(high)]


def attack_validity(original_auc: ArrayLike, confidence: float = 0.95) -> Validity:
    """Whether an attack detects the forget set on the original models, before it may say anything else.

    Args:
        original_auc: [S >= 2], AUC of F against H under the original model of each seed.
        confidence: in (0, 1).

    Returns:
        low end of `t_interval`, and valid: low > 0.5, strictly.

    Raises:
        ValueError: fewer than two seeds, values outside [0, 1], NaN.

    >>> attack_validity([0.5, 0.5])
    {'low': 0.5, 'valid': False}
    """
    name = "attack_validity: original_auc"
    low = _t_interval(probabilities(original_auc, name, 1), confidence, name)["low"]
    return {"low": low, "valid": low > 0.5}


def paired_difference(values_a: ArrayLike, values_b: ArrayLike, confidence: float = 0.95) -> Difference:
    """Mean of a - b over paired seeds, its Student interval, and the p-value of the paired t-test.

    Args:
        values_a: [S >= 2].
        values_b: [S], the same seeds in the same order.
        confidence: in (0, 1).

    Returns:
        mean, low, high of a - b; p_value two-sided. Differences without spread give p 1 if they are 0, else
        0.

    Raises:
        ValueError: unequal lengths, fewer than two seeds, NaN.

    >>> paired_difference([2.0, 3.0], [1.0, 2.0])
    {'mean': 1.0, 'low': 1.0, 'high': 1.0, 'p_value': 0.0}
    """
    a, b = (
        numbers(values_a, "paired_difference: values_a", 1),
        numbers(values_b, "paired_difference: values_b", 1),
    )
    same_shape(a, b, "paired_difference: values_a and values_b")
    interval = _t_interval(a - b, confidence, "paired_difference: values_a - values_b")
    p_value = float(ttest_rel(a, b).pvalue) if (centred(a - b) ** 2).any() else float(interval["mean"] == 0)
    return {**interval, "p_value": p_value}


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike, confidence: float = 0.95) -> Interval:
    """Ratio of two paired means with Fieller's interval: all r for which the mean of x - r y is not unlike 0.

    Its coverage is that of the t-interval, with a handful of seeds too, where a bootstrap's is not.

    Args:
        numerators: x [S >= 2], one per training seed.
        denominators: y [S], the same seeds in the same order.
        confidence: in (0, 1).

    Returns:
        mean x / mean y as mean, and low, high, which need not lie evenly about it.

    Raises:
        ValueError: the interval of the denominators' mean holds 0, so the ratio has no bounded interval; unequal
            lengths, fewer than two seeds, NaN.

    Source: Fieller, J. Royal Statistical Society B 1954.

    >>> ratio_interval([2.0, 2.5, 1.5], [8.0, 10.0, 6.0])
    {'mean': 0.25, 'low': 0.25, 'high': 0.25}
    """
    name = "ratio_interval: denominators"
    x = numbers(numerators, "ratio_interval: numerators", 1)
    y = numbers(denominators, name, 1)
    same_shape(x, y, "ratio_interval: numerators and denominators")
    at_least(len(y), 2, name, "seeds")
    level = number(confidence, "ratio_interval: confidence", 0, 1, "()")
    ratio = x.mean() / y.mean() if y.mean() else 0.0
    spread = t.isf((1 - level) / 2, len(y) - 1) ** 2 / len(y) * np.cov(x - ratio * y, y)
    square = y.mean() ** 2 - spread[1, 1]
    if square <= 1e-12 * y.mean() ** 2:
        raise ValueError(f"{name} have a mean that cannot be told from 0; such a ratio is not bounded.")
    root = np.sqrt(spread[0, 1] ** 2 + square * spread[0, 0])
    low, high = ((-spread[0, 1] + sign * root) / square for sign in (-1, 1))
    return {"mean": float(ratio), "low": float(ratio + low), "high": float(ratio + high)}


def holm(p_values: ArrayLike, alpha: float = 0.05) -> Holm:
    """Step-down adjustment of Holm for all comparisons of one table: max over j <= i of (K - j + 1) p_(j).

    Not taken from statsmodels, whose `multipletests` collects garbage at every call (70 ms and more).

    Args:
        p_values: [K], each in [0, 1].
        alpha: in (0, 1).

    Returns:
        adjusted [K] in input order, in [0, 1], and reject [K]: adjusted <= alpha.

    Raises:
        ValueError: NaN (a failed comparison does not vanish), values outside [0, 1], empty.

    Source: Holm, Scandinavian J. of Statistics 1979.

    >>> holm([0.04, 0.5])
    {'adjusted': [0.08, 0.5], 'reject': [False, False]}
    """
    raw = probabilities(p_values, "holm: p_values", 1)
    level = number(alpha, "holm: alpha", 0, 1, "()")
    order = np.argsort(raw, kind="stable")
    stepped = np.arange(len(raw), 0, -1) * raw[order]
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return {"adjusted": adjusted.tolist(), "reject": (adjusted <= level).tolist()}


def tost(differences: ArrayLike, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided t-tests of the mean difference lying inside (-margin, margin).

    Args:
        differences: [S >= 2], paired, one per seed.
        margin: > 0, in the unit of the differences, fixed in advance.
        alpha: in (0, 1).

    Returns:
        p_value, the larger of the two; equivalent: p_value < alpha. Without spread p is 0 inside, 1 outside.

    Raises:
        ValueError: margin <= 0, fewer than two seeds, NaN.

    Source: Schuirmann 1987.

    >>> tost([0.0, 0.0, 0.0], margin=0.1)
    {'p_value': 0.0, 'equivalent': True}
    """
    values = numbers(differences, "tost: differences", 1)
    at_least(len(values), 2, "tost: differences", "seeds")
    bound = number(margin, "tost: margin", 0, ends="(]")
    level = number(alpha, "tost: alpha", 0, 1, "()")
    if (centred(values) ** 2).any():
        p_value = float(DescrStatsW(values).ttost_mean(-bound, bound)[0])
    else:
        p_value = float(abs(values[0]) >= bound)
    return {"p_value": p_value, "equivalent": p_value < level}


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: pool runs and tasks, drop floor(RT / 4) values at each end, average the rest.

    Args:
        scores: [R, T], runs by tasks; failures enter as the worst score.

    Returns:
        In the unit of the scores.

    Raises:
        ValueError: empty, not two-dimensional, NaN.

    Source: Agarwal et al., NeurIPS 2021.

    >>> iqm([[1, 2, 3, 4], [5, 6, 7, 100]])
    4.5
    """
    return float(trim_mean(numbers(scores, "iqm: scores", 2), 0.25, axis=None))


def iqm_ci(scores: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> list[float]:
    """Percentile bootstrap interval of `iqm`: runs are drawn with replacement within each task.

    Args:
        scores: [R >= 2, T].
        confidence: in (0, 1).
        resamples: at least 2000.
        seed: of the numpy generator; equal seeds give equal intervals.

    Returns:
        [low, high].

    Raises:
        ValueError: one run, fewer than 2000 resamples, NaN.

    Source: Agarwal et al., NeurIPS 2021.

    >>> iqm_ci([[0.0, 10.0], [1.0, 12.0]])
    [5.0, 6.5]
    """
    table = numbers(scores, "iqm_ci: scores", 2)
    runs, tasks = table.shape
    at_least(runs, 2, "iqm_ci: scores", "runs")
    level = number(confidence, "iqm_ci: confidence", 0, 1, "()")
    repeats = whole_number(resamples, "iqm_ci: resamples", 2000)
    generator = np.random.default_rng(whole_number(seed, "iqm_ci: seed"))
    drawn = table[generator.integers(runs, size=(repeats, runs, tasks)), np.arange(tasks)]
    means = trim_mean(drawn.reshape(repeats, -1), 0.25, axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def balanced_iqm(
    scores: Sequence[ArrayLike], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """`iqm` and `iqm_ci` for tasks with unequal numbers of runs, each task weighing the same.

    Runs are repeated until all tasks have equally many; for the interval they are drawn first, within each task.

    Args:
        scores: T times [R_t >= 2], the runs of each task.
        confidence: in (0, 1).
        resamples: at least 2000.
        seed: of the numpy generator; equal seeds give equal intervals.

    Returns:
        The interquartile mean as mean, and the ends of its interval.

    Raises:
        ValueError: no task, one run, fewer than 2000 resamples, NaN.

    >>> balanced_iqm([[0.0, 1.0], [10.0, 10.0, 10.0, 10.0]])
    {'mean': 5.5, 'low': 5.0, 'high': 5.5}
    """
    at_least(len(scores), 1, "balanced_iqm: scores", "tasks")
    runs = [numbers(task, f"balanced_iqm: scores[{place}]", 1) for place, task in enumerate(scores)]
    for place, task in enumerate(runs):
        at_least(len(task), 2, f"balanced_iqm: scores[{place}]", "runs")
    level = number(confidence, "balanced_iqm: confidence", 0, 1, "()")
    repeats = whole_number(resamples, "balanced_iqm: resamples", 2000)
    generator = np.random.default_rng(whole_number(seed, "balanced_iqm: seed"))
    length = math.lcm(*map(len, runs))
    drawn = [task[generator.integers(len(task), size=(repeats, len(task)))] for task in runs]
    means = trim_mean(np.hstack([np.tile(task, length // task.shape[1]) for task in drawn]), 0.25, axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    everything = np.column_stack([np.tile(task, length // len(task)) for task in runs])
    return {"mean": iqm(everything), "low": float(low), "high": float(high)}


def average_rank(values: ArrayLike, failed: ArrayLike, direction: str) -> Floats:
    """Mean rank of every method over tasks: 1 is best, ties share, failures share the last ranks.

    Args:
        values: [T, K]; read only where not failed.
        failed: [T, K], true or false.
        direction: "max" if larger is better, "min" if smaller is.

    Returns:
        [K], in [1, K].

    Raises:
        ValueError: NaN or infinity without a failed flag, unequal shapes, another direction.

    >>> average_rank([[0.1, 0.9, 0.5]], [[False, True, False]], "max").tolist()
    [2.0, 3.0, 1.0]
    """
    table = numbers(values, "average_rank: values", 2, finite=False)
    lost = whole_numbers(failed, "average_rank: failed", 2, 0, 1).astype(bool)
    if table.shape != lost.shape:
        raise ValueError(f"average_rank: values are {table.shape}, failed {lost.shape}; they must be equal.")
    one_of(direction, "average_rank: direction", ("max", "min"))
    reject(~lost & ~np.isfinite(table), table, "average_rank: values", "finite, or flagged as failed")
    badness = np.where(lost, np.inf, -table if direction == "max" else table)
    return np.asarray(rankdata(badness, axis=1).mean(axis=0))


def rank_interval(better: ArrayLike) -> list[list[int]]:
    """Ranks each method may hold, given which pairwise differences are established.

    Args:
        better: [K, K]; better[i][j] is true if i is better than j at the Holm-adjusted level.

    Returns:
        [best, worst] per method: best 1 + #{j better than i}, worst K - #{j that i is better than}.

    Raises:
        ValueError: not square, or a contradiction: i above itself, directly or round a cycle.

    Source: after Mogstad et al., Rev. Econ. Stud. 2024.

    >>> rank_interval([[False, False, True], [False, False, True], [False, False, False]])
    [[1, 2], [1, 2], [3, 3]]
    """
    above = whole_numbers(better, "rank_interval: better", 2, 0, 1).astype(bool)
    methods = len(above)
    if above.shape != (methods, methods):
        raise ValueError(f"rank_interval: better has shape {above.shape}; it must be square.")
    reaches = above.copy()
    for middle in range(methods):
        reaches |= reaches[:, middle, None] & reaches[middle]
    if reaches.diagonal().any():
        method = int(np.argmax(reaches.diagonal()))
        raise ValueError(f"rank_interval: method {method} is better than itself, directly or round a cycle.")
    best, worst = 1 + above.sum(axis=0), methods - above.sum(axis=1)
    return [[int(first), int(last)] for first, last in zip(best, worst, strict=True)]


def pareto_set(values: ArrayLike, directions: Sequence[str]) -> list[int]:
    """Methods that no other method dominates (at least as good everywhere and better somewhere).

    Args:
        values: [K, m].
        directions: [m], "max" or "min" per column.

    Returns:
        Ascending indices; exact duplicates stay together.

    Raises:
        ValueError: NaN, another number of directions than columns, other words.

    >>> pareto_set([[0.9, 10], [0.8, 5], [0.9, 12]], ["max", "min"])
    [0, 1]
    """
    table = numbers(values, "pareto_set: values", 2)
    if len(directions) != table.shape[1]:
        raise ValueError(f"pareto_set: {len(directions)} directions, {table.shape[1]} columns; match them.")
    for column, direction in enumerate(directions):
        one_of(direction, f"pareto_set: directions[{column}]", ("max", "min"))
    cost = table * np.where(np.array(directions) == "max", -1.0, 1.0)
    dominated = [bool(((cost <= row).all(axis=1) & (cost < row).any(axis=1)).any()) for row in cost]
    return [index for index, lost in enumerate(dominated) if not lost]


def normalised_forgetting(
    d_unlearned: float,
    d_original: float,
    floor_mean: float,
    floor_p95: float,
) -> float:
    """Share of the way from the original to retraining: S = 1 - (d_unlearned - d0) / (d_original - d0).

    Args:
        d_unlearned: distance of the unlearned models to the retrained ones.
        d_original: distance of the original models to the retrained ones.
        floor_mean: d0.
        floor_p95: 95th percentile of d between retrains.

    Returns:
        1 at the floor, 0 at the original, negative beyond it; not clipped.

    Raises:
        ValueError: the original is inside the retrain band (task not admitted), NaN.

    Source: project.

    >>> normalised_forgetting(0.5, 1.0, 0.0, 0.1)
    0.5
    """
    unlearned = number(d_unlearned, "normalised_forgetting: d_unlearned")
    original = number(d_original, "normalised_forgetting: d_original")
    mean = number(floor_mean, "normalised_forgetting: floor_mean")
    p95 = number(floor_p95, "normalised_forgetting: floor_p95")
    if original <= max(mean, p95):
        raise ValueError(
            f"normalised_forgetting: d_original {original:g} is not above the retrain band (mean {mean:g}, "
            f"95th percentile {p95:g}); the task is not admitted."
        )
    return 1 - (unlearned - mean) / (original - mean)


def regression_decision(
    baseline: ArrayLike, candidate: ArrayLike, direction: str, floor: float, alpha: float = 0.002
) -> Regression:
    """Whether a commit made a stochastic metric worse: significant, and by more than retraining noise.

    Args:
        baseline: [S >= 7], one value per seed before the change.
        candidate: [S], the same seeds after it.
        direction: "max" if larger is better, "min" if smaller is.
        floor: >= 0, 95th percentile of the metric between retrains.
        alpha: in (0, 1).

    Returns:
        p_value of the two-sided Mann-Whitney test (exact without ties, else normal with tie and continuity
        corrections); effect, the median paired change, positive = worse; verdict.

    Raises:
        ValueError: fewer than seven pairs (they cannot reach p < 0.002), unequal lengths, NaN, negative
            floor.

    >>> regression_decision([1, 2, 3, 4, 5, 6, 7], [11, 12, 13, 14, 15, 16, 17], "min", floor=1.0)["verdict"]
    'regression'
    """
    old = numbers(baseline, "regression_decision: baseline", 1)
    new = numbers(candidate, "regression_decision: candidate", 1)
    same_shape(old, new, "regression_decision: baseline and candidate")
    at_least(len(old), 7, "regression_decision: baseline", "seeds")
    one_of(direction, "regression_decision: direction", ("max", "min"))
    noise = number(floor, "regression_decision: floor", 0)
    level = number(alpha, "regression_decision: alpha", 0, 1, "()")
    p_value = _mann_whitney(old, new)
    effect = float(np.median(old - new if direction == "max" else new - old))
    verdict = "no_change"
    if p_value < level and effect > noise:
        verdict = "regression"
    elif p_value < level and effect < -noise:
        verdict = "improvement"
    return {"p_value": p_value, "effect": effect, "verdict": verdict}


def _t_interval(values: ArrayLike, confidence: float, name: str) -> Interval:
    sample = numbers(values, name, 1)
    seeds = len(sample)
    at_least(seeds, 2, name, "seeds")
    level = number(confidence, f"{name.split(':')[0]}: confidence", 0, 1, "()")
    deviations = centred(sample)
    mean = float(sample.mean()) if deviations.any() else float(sample[0])
    standard_error = np.sqrt((deviations**2).sum() / (seeds - 1) / seeds)
    half_width = float(t.isf((1 - level) / 2, seeds - 1) * standard_error)
    return {"mean": mean, "low": mean - half_width, "high": mean + half_width}


def _mann_whitney(first: Floats, second: Floats) -> float:
    pooled = np.unique(np.concatenate([first, second]))
    if len(pooled) == 1:
        return 1.0
    method = "exact" if len(pooled) == len(first) + len(second) else "asymptotic"
    return float(mannwhitneyu(first, second, alternative="two-sided", method=method).pvalue)
