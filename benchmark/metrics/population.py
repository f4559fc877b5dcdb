"""Attacks and divergences over populations of models trained with and without each example.

LiRA: Carlini et al. (S&P 2022, 2112.03570), the variance shrinkage being this project's. U-LiRA: Hayes et al.
(SaTML 2025, 2403.01218). RMIA: Zarifzadeh, Liu & Shokri (ICML 2024, 2312.03262). KLOM: Georgiev et al. (ICLR
2025, 2410.23232). Forgetting quality of the NeurIPS 2023 competition: Triantafillou et al. (2024,
2406.09073).
"""

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.metrics._checks import (
    Floats,
    at_least,
    number,
    numbers,
    one_of,
    probabilities,
    reject,
    same_columns,
    same_shape,
    whole_number,
    whole_numbers,
)
from benchmark.metrics.attacks import mia_auc

EPSILON_CAP = 50.0


class UnlearningAttack(TypedDict):
    """U-LiRA over a population: AUC and balanced accuracy in [0, 1]; llr [S, n], NaN where the role is -1."""

    auc: float
    balanced_accuracy: float
    llr: Floats


class ForgettingQuality(TypedDict):
    """Competition score: epsilon [n] in [0, 50] and the mean of the points H(epsilon), in [0, 1]."""

    epsilon: Floats
    score: float


def lira_score(
    phi_target: ArrayLike, phi_in: ArrayLike, phi_out: ArrayLike, variance: str = "shared", nu0: float = 6.0
) -> Floats:
    """Log-likelihood ratio log N(phi; mu_in, var_in) - log N(phi; mu_out, var_out) per example.

    Variances are shrunk towards their mean over examples with the weight of `nu0` extra degrees of freedom.

    Args:
        phi_target: [n], margins under the attacked model.
        phi_in: [N >= 2, n], margins under models that saw the example.
        phi_out: [M >= 2, n], margins under models that did not.
        variance: "shared" pools both sides (sees shifts), "per_side" keeps them apart (sees width too).
        nu0: >= 0; 0 turns shrinkage off.

    Returns:
        [n], unbounded, larger for members.

    Raises:
        ValueError: fewer than two models a side, unequal n, a variance of zero, unknown `variance`, NaN.

    Source: Carlini et al., S&P 2022; shrinkage: project.

    >>> lira_score([2.0], [[1.0], [3.0]], [[-1.0], [1.0]], "shared", 0).tolist()
    [1.0]
    """
    target = numbers(phi_target, "lira_score: phi_target", 1)
    seen, unseen = numbers(phi_in, "lira_score: phi_in", 2), numbers(phi_out, "lira_score: phi_out", 2)
    same_columns(target, seen, "lira_score: phi_target and phi_in")
    same_columns(target, unseen, "lira_score: phi_target and phi_out")
    at_least(len(seen), 2, "lira_score: phi_in", "models")
    at_least(len(unseen), 2, "lira_score: phi_out", "models")
    one_of(variance, "lira_score: variance", ("shared", "per_side"))
    weight = number(nu0, "lira_score: nu0", 0)
    sides = (_side(seen, np.ones(seen.shape, dtype=bool)), _side(unseen, np.ones(unseen.shape, dtype=bool)))
    return np.asarray(_log_likelihood_ratio(target[None], *sides, variance, weight, "lira_score")[0])


def u_lira(
    phi: ArrayLike, role: ArrayLike, group: ArrayLike, variance: str = "shared", nu0: float = 6.0
) -> UnlearningAttack:
    """Likelihood-ratio attack on an unlearning method: unlearned against never-seen models.

    Every model is scored by Gaussians, and their shrinkage, fitted to the models outside its group only.

    Args:
        phi: [S, n], margins of all models after the same unlearning; read only where the role is 0 or 1.
        role: [S, n], 1 trained on the example and unlearned it, 0 never saw it, -1 not used.
        group: [S], models that must leave the fit together (a complementary pair, several forget draws).
        variance: "shared" or "per_side", as in `lira_score`.
        nu0: >= 0, as in `lira_score`.

    Returns:
        auc of all role-1 against all role-0 ratios, balanced accuracy of the rule ratio > 0 (a ratio of 0
        counts half), and the ratios [S, n] with NaN where the role is -1.

    Raises:
        ValueError: fewer than two models a side for any example in any fold, other roles, a variance of zero,
            unequal shapes, NaN in a used cell.

    Source: Hayes et al., SaTML 2025; groups, shrinkage and both variances: project.
    """
    margins = numbers(phi, "u_lira: phi", 2, finite=False)
    roles = whole_numbers(role, "u_lira: role", 2, -1, 1)
    groups = numbers(group, "u_lira: group", 1)
    if margins.shape != roles.shape or len(groups) != len(margins):
        raise ValueError(
            f"u_lira: phi is {margins.shape}, role {roles.shape}, group {groups.shape}; "
            "they must be [S, n], [S, n] and [S]."
        )
    reject(
        (roles >= 0) & ~np.isfinite(margins),
        margins,
        "u_lira: phi",
        "a finite number where the role is 0 or 1",
    )
    margins = np.where(roles >= 0, margins, 0.0)
    one_of(variance, "u_lira: variance", ("shared", "per_side"))
    weight = number(nu0, "u_lira: nu0", 0)
    llr = np.full(margins.shape, np.nan)
    for left_out in np.unique(groups):
        fitted = (groups != left_out)[:, None]
        name = f"u_lira without group {left_out:g}"
        unlearned, unseen = (_side(margins, fitted & (roles == side), name) for side in (1, 0))
        scored = margins[groups == left_out]
        llr[groups == left_out] = _log_likelihood_ratio(scored, unlearned, unseen, variance, weight, name)
    llr[roles < 0] = np.nan
    unlearned_llr, unseen_llr = llr[roles == 1], llr[roles == 0]
    advantage = np.sign(unlearned_llr).mean() - np.sign(unseen_llr).mean()
    return {
        "auc": mia_auc(unlearned_llr, unseen_llr),
        "balanced_accuracy": float(0.5 + advantage / 4),
        "llr": llr,
    }


def rmia(
    target_x: ArrayLike,
    ref_x: ArrayLike,
    target_z: ArrayLike,
    ref_z: ArrayLike,
    a: float,
    gamma: float = 1.0,
) -> Floats:
    """Share of population points z that x dominates: ratio(x) > gamma ratio(z), ratio = p(. | target) / p(.).

    Offline form: p(x) = ((1 + a) mean_ref p(x | ref) + 1 - a) / 2. Ratios that agree up to rounding are ties,
    and ties do not count.

    Args:
        target_x: [n], true-class probabilities under the attacked model.
        ref_x: [K, n], under reference models that never saw x.
        target_z: [Z], population points.
        ref_z: [K, Z].
        a: in [0, 1]; chosen by attacking a reference model, never the target.
        gamma: > 0.

    Returns:
        [n], in [0, 1], larger for members.

    Raises:
        ValueError: values outside [0, 1], p(x) = 0, unequal shapes, NaN, a or gamma out of range.

    Source: Zarifzadeh, Liu & Shokri, ICML 2024.

    >>> rmia([0.5], [[0.25]], [0.5, 0.25, 0.5], [[0.5, 0.25, 0.25]], a=1.0).round(4).tolist()
    [0.6667]
    """
    offset = number(a, "rmia: a", 0, 1)
    factor = number(gamma, "rmia: gamma", 0, ends="(]")
    references_x, references_z = (
        probabilities(ref_x, "rmia: ref_x", 2),
        probabilities(ref_z, "rmia: ref_z", 2),
    )
    if len(references_x) != len(references_z):
        counts = f"{len(references_x)} models in ref_x and {len(references_z)} in ref_z"
        raise ValueError(f"rmia: {counts}; they must be the same models.")
    ratio_x = _rmia_ratio(probabilities(target_x, "rmia: target_x", 1), references_x, offset, "x")
    ratio_z = _rmia_ratio(probabilities(target_z, "rmia: target_z", 1), references_z, offset, "z")
    rounding = 8 * np.finfo(np.float64).eps
    return np.searchsorted(np.sort(factor * ratio_z), ratio_x * (1 - rounding), side="left") / len(ratio_z)


def klom(
    unlearned: ArrayLike, retrained: ArrayLike, bins: int = 20, clip: float = 100.0, floor: float = 1e-5
) -> Floats:
    """KL divergence of margins, unlearned || retrained, between histograms over their joint range.

    Args:
        unlearned: [N, n], margins under unlearned models.
        retrained: [M, n], margins under retrained models.
        bins: equal bins, the last one closed.
        clip: > 0; margins are clipped to [-clip, clip] first.
        floor: in (0, 1]; least retrained mass of a bin that holds unlearned mass, before normalising again.

    Returns:
        [n], nats, in [0, inf); 0 where both samples are one constant. Biased upwards in N: never compare
        different N.

    Raises:
        ValueError: unequal n, NaN or infinity, bins, clip or floor out of range.

    Source: Georgiev et al., ICLR 2025.

    >>> klom([[0.5], [0.5], [0.5], [0.5]], [[0.5], [0.5], [20.0], [0.0]]).round(4).tolist()
    [0.2877]
    """
    u, v = numbers(unlearned, "klom: unlearned", 2), numbers(retrained, "klom: retrained", 2)
    same_columns(u, v, "klom: unlearned and retrained")
    return _histogram_divergence(u, v, *_binning(bins, clip, floor, "klom"))


def klom0(
    unlearned: ArrayLike,
    retrained_a: ArrayLike,
    retrained_b: ArrayLike,
    bins: int = 20,
    clip: float = 100.0,
    floor: float = 1e-5,
) -> Floats:
    """KLOM with its null subtracted: klom(unlearned, A) - klom(B, A), A and B being independent retrains.

    Args:
        unlearned: [N, n].
        retrained_a: [N, n], the reference of both terms.
        retrained_b: [N, n].
        bins: as in `klom`; likewise `clip` and `floor`.
        clip: see `klom`.
        floor: see `klom`.

    Returns:
        [n], nats; mean 0 under perfect unlearning, may be negative.

    Raises:
        ValueError: shapes that are not all equal (the null depends on N), and everything `klom` rejects.

    Source: project, after Georgiev et al., ICLR 2025.
    """
    u = numbers(unlearned, "klom0: unlearned", 2)
    first, second = (
        numbers(retrained_a, "klom0: retrained_a", 2),
        numbers(retrained_b, "klom0: retrained_b", 2),
    )
    same_shape(u, first, "klom0: unlearned and retrained_a")
    same_shape(first, second, "klom0: retrained_a and retrained_b")
    binning = _binning(bins, clip, floor, "klom0")
    return _histogram_divergence(u, first, *binning) - _histogram_divergence(second, first, *binning)


def competition_forgetting_quality(
    unlearned: ArrayLike, retrained: ArrayLike, delta: float = 1e-5
) -> ForgettingQuality:
    """Forgetting quality of the NeurIPS 2023 competition: the best attack's epsilon per example, as points.

    The attacks are all single thresholds (larger median = positive) and all intervals around the narrower
    sample, on grids of 100 points per unit. epsilon = max(ln((1 - delta - FPR) / FNR), ln((1 - delta - FNR) /
    FPR), 0); 50 for a perfect attack or widths that differ a hundredfold. An attack with exactly one zero
    rate is ignored.

    Args:
        unlearned: [N >= 3, n], margins of the forget examples under unlearned models.
        retrained: [N, n], under retrained models.
        delta: in [0, 1).

    Returns:
        epsilon [n] in [0, 50]; score, the mean of H = 2^-floor(2 epsilon), or 0 beyond ceil(ln(N - 1)). A
        perfect unlearner scores about 0.19, not 1: epsilon is a maximum over 10^5 attacks.

    Raises:
        ValueError: fewer than three models, unequal shapes, an example on which no attack is left, NaN.

    Source: Triantafillou et al. 2024 (2406.09073), defined from counts.
    """
    u = numbers(unlearned, "competition_forgetting_quality: unlearned", 2)
    v = numbers(retrained, "competition_forgetting_quality: retrained", 2)
    same_shape(u, v, "competition_forgetting_quality: unlearned and retrained")
    at_least(len(u), 3, "competition_forgetting_quality: unlearned", "models")
    slack = number(delta, "competition_forgetting_quality: delta", 0, 1, "[)")
    samples = zip(np.sort(u, axis=0).T, np.sort(v, axis=0).T, strict=True)
    epsilon = np.array([_best_attack(*pair, slack, column) for column, pair in enumerate(samples)])
    bucket = np.floor(2 * epsilon)
    points = np.where((bucket + 1) / 2 <= np.ceil(np.log(len(u) - 1)), 2.0**-bucket, 0.0)
    return {"epsilon": epsilon, "score": float(points.mean())}


class _Side(NamedTuple):
    """Models of one side per example: how many, their mean, and the sum of squared deviations; each [n]."""

    models: Floats
    mean: Floats
    squares: Floats


def _side(phi: Floats, used: NDArray[np.bool_], name: str = "") -> _Side:
    """Moments of the `used` cells per column, counted from the smallest so that a constant has squares 0."""
    count = used.sum(axis=0).astype(np.float64)
    if count.min() < 2:
        column = int(np.argmin(count))
        raise ValueError(f"{name}: example {column} keeps {count[column]:g} model(s) a side; 2 are needed.")
    base = np.min(phi, axis=0, where=used, initial=np.inf)
    above = np.where(used, phi - base, 0.0)
    mean = above.sum(axis=0) / count
    squares = np.where(used, (above - mean) ** 2, 0.0).sum(axis=0)
    return _Side(count, base + mean, squares)


def _log_likelihood_ratio(
    phi: Floats,
    seen: _Side,
    unseen: _Side,
    variance: str,
    nu0: float,
    name: str,
) -> Floats:
    """Ratio for phi [models, n]; within rounding of its two terms it is 0: equal sides are no evidence."""
    if variance == "shared":
        pooled = _Side(seen.models + unseen.models - 1, seen.mean, seen.squares + unseen.squares)
        variances = [_shrunk_variance(pooled, nu0, name)] * 2
    else:
        variances = [_shrunk_variance(side, nu0, name) for side in (seen, unseen)]
    with np.errstate(over="ignore", invalid="ignore"):
        like_seen, like_unseen = (
            -(np.log(spread) + (phi - side.mean) ** 2 / spread) / 2
            for side, spread in zip((seen, unseen), variances, strict=True)
        )
        ratio = like_seen - like_unseen
    reject(~np.isfinite(ratio), phi, f"{name}: phi", "closer to its models, as float64 cannot square the distance")
    rounding = 1e-13 * (1 + np.abs(like_seen) + np.abs(like_unseen))
    return np.where(np.abs(ratio) <= rounding, 0.0, ratio)


def _shrunk_variance(side: _Side, nu0: float, name: str) -> Floats:
    """(nu0 s0^2 + SS) / (nu0 + d); d = models - 1 degrees of freedom, s0^2 = mean of SS / d over examples."""
    freedom = side.models - 1
    variance = (nu0 * (side.squares / freedom).mean() + side.squares) / (nu0 + freedom)
    if not variance.all():
        column = int(np.argmin(variance))
        raise ValueError(f"{name}: example {column} has a variance of 0; its models must differ.")
    return np.asarray(variance)


def _rmia_ratio(target: Floats, references: Floats, a: float, name: str) -> Floats:
    same_columns(target, references, f"rmia: target_{name} and ref_{name}")
    marginal = ((1 + a) * references.mean(axis=0) + (1 - a)) / 2  # 1 - a first: small means must not be rounded away
    reject(marginal == 0, marginal, f"rmia: p({name})", "positive, as no ratio exists otherwise")
    return np.asarray(target / marginal)


def _binning(bins: int, clip: float, floor: float, function: str) -> tuple[int, float, float]:
    return (
        whole_number(bins, f"{function}: bins", 1),
        number(clip, f"{function}: clip", 0, ends="(]"),
        number(floor, f"{function}: floor", 0, 1, "(]"),
    )


def _histogram_divergence(u: Floats, v: Floats, bins: int, clip: float, floor: float) -> Floats:
    """KL(u || v) per column [n] between histograms over the joint range of the clipped samples [N, n], [M, n]."""
    u, v = np.clip(u, -clip, clip), np.clip(v, -clip, clip)
    low, high = np.minimum(u.min(axis=0), v.min(axis=0)), np.maximum(u.max(axis=0), v.max(axis=0))
    constant = low == high
    edges = np.linspace(low, np.where(constant, low + 1 + np.abs(low), high), bins + 1)
    p, q = _histograms(u, edges), _histograms(v, edges)
    q = np.where(p > 0, np.maximum(q, floor), q)
    q /= q.sum(axis=0)
    terms = p * np.log(np.where(p > 0, p / np.where(p > 0, q, 1.0), 1.0))
    return np.where(constant, 0.0, np.maximum(terms.sum(axis=0), 0.0))


def _histograms(sample: Floats, edges: Floats) -> Floats:
    """Shares [bins, n] of the columns [N, n] in their bins, edges [bins + 1, n]; as `np.histogram` counts."""
    n_bins, columns = len(edges) - 1, np.arange(sample.shape[1])
    place = ((sample - edges[0]) / (edges[-1] - edges[0]) * n_bins).astype(np.int64).clip(0, n_bins - 1)
    place -= sample < edges[place, columns]
    place += (place < n_bins - 1) & (sample >= edges[place + 1, columns])
    counts = np.bincount((place * len(columns) + columns).ravel(), minlength=n_bins * len(columns))
    return counts.reshape(n_bins, len(columns)) / len(sample)


def _best_attack(unlearned: Floats, retrained: Floats, delta: float, column: int) -> float:
    """Epsilon of one example from two sorted samples [N]."""
    narrow, wide = sorted([np.ptp(unlearned), np.ptp(retrained)])
    if wide > 0 and narrow / wide < 0.01:
        return EPSILON_CAP
    swapped = np.median(retrained) > np.median(unlearned)
    positive, negative = (retrained, unlearned) if swapped else (unlearned, retrained)
    errors = np.hstack([_threshold_errors(positive, negative), _interval_errors(positive, negative)])
    errors /= len(positive)
    if (errors == 0).all(axis=0).any():
        return EPSILON_CAP
    rates = errors[:, (errors > 0).all(axis=0)]
    if rates.size == 0:
        raise ValueError(
            f"competition_forgetting_quality: every attack on example {column} has exactly one zero error "
            "rate; use more models, or models that differ."
        )
    evidence = np.log(np.maximum(1 - delta - rates, np.finfo(np.float64).tiny) / rates[::-1])
    return float(np.clip(evidence.max(), 0.0, EPSILON_CAP))


def _threshold_errors(positive: Floats, negative: Floats) -> Floats:
    """Count false positives and negatives [2, rules] of "phi >= t", t on ceil(100 range) points of the range.

    Grid points between two neighbouring values decide alike: only the last one up to each value is visited.
    """
    values = np.unique(np.concatenate([positive, negative]))
    low, high = values[0], values[-1]
    if low == high:
        return np.empty((2, 0))
    points = max(np.ceil(np.round(100 * (high - low), 9)), 1)
    step = (high - low) / max(points - 1, 1)

    def grid(index: Floats) -> Floats:
        return np.asarray(np.where((index == points - 1) & (index > 0), high, low + index * step))

    index = np.clip(np.floor((values - low) / step), 0, points - 1)
    slack = _rounding(values)
    index -= grid(index) > values + slack
    index += (index < points - 1) & (grid(np.minimum(index + 1, points - 1)) <= values + slack)
    thresholds = grid(index) - slack
    false_positives = len(negative) - np.searchsorted(negative, thresholds, side="left")
    false_negatives = np.searchsorted(positive, thresholds, side="left")
    return np.stack([false_positives, false_negatives]).astype(np.float64)


def _interval_errors(positive: Floats, negative: Floats) -> Floats:
    """Count false positives and negatives [2, rules] of "in the narrower sample iff l <= phi <= r".

    r runs over 400 points within 2 of the narrower sample's maximum, l over 400 points within 2 of r - width.
    """
    peaky = positive if np.ptp(positive) < np.ptp(negative) * (1 - 1e-12) else negative
    offsets = np.linspace(-2.0, 2.0, 400)
    right = peaky[-1] + offsets
    left = (right - np.ptp(peaky))[:, None] + offsets
    slack = _rounding(np.concatenate([positive, negative]))

    def inside(sample: Floats) -> Floats:
        upto_right = np.searchsorted(sample, right + slack, side="right")[:, None]
        below_left = np.searchsorted(sample, left - slack, side="left")
        return np.asarray(np.maximum(upto_right - below_left, 0).ravel(), dtype=np.float64)

    if peaky is positive:
        errors = [inside(negative), len(positive) - inside(positive)]
    else:
        errors = [len(negative) - inside(negative), inside(positive)]
    return np.stack(errors)


def _rounding(values: Floats) -> float:
    """Room for rounding at the closed end of a rule, so that a value on a grid point counts as on it."""
    return float(1e-12 * (1 + np.abs(values).max()))
