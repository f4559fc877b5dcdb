"""Attacks that know how images behave under many models that forgot them, and under many that never saw them.

U-LiRA: Hayes et al. (SaTML 2025, 2403.01218); RMIA: Zarifzadeh, Liu & Shokri (ICML 2024, 2312.03262). Departures:
whole pairs of models leave the fit together, variances are shrunk, and nothing is chosen on what it is reported on
(METRICS 3 and V6). On encoders the mean similarity of views stands in the place of the margin, an extension of ours.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from scipy.special import expit

from benchmark.api import CONTRASTIVE, Finding, Outputs, Population, PopulationMetric, Value, register_metric
from benchmark.metrics._checks import Floats, Integers, at_least, centred
from benchmark.metrics.attacks import mia_auc, tpr_at_fpr
from benchmark.metrics.pools import (
    MARGIN,
    SIMILARITIES,
    Pool,
    Score,
    check_same_splits,
    jackknife,
    leaving_out,
    margin,
    on_pool,
    on_set,
)
from benchmark.metrics.population import UnlearningAttack, rmia, u_lira
from benchmark.specs import Signal, Unit
from benchmark.stats import t_interval

POOLED = ("auc", "auc_vulnerable", "auc_per_side")
REFERENCES = 8
OFFSETS = np.arange(11) / 10  # RMIA's a


# -- U-LiRA ------------------------------------------------------------------------------------------------


def _ratio_values(prefix: str, signal: Signal, places: Mapping[str, str], headlines: set[str]) -> dict[str, Value]:
    """The values of `_LikelihoodRatios`; `places` is ending of a name -> ending of a label."""
    labels: Mapping[str, tuple[str, Unit, bool]] = {
        "auc": ("U-LiRA AUC", "auc", True),
        "auc_vulnerable": ("U-LiRA AUC, vulnerable", "auc", True),
        "auc_per_side": ("U-LiRA AUC, own variances", "auc", True),
        "balanced_accuracy": ("U-LiRA accuracy", "fraction", False),
        "tpr": ("U-LiRA TPR at 1% FPR", "fraction", False),
        "auc_p50": ("AUC per image, median", "auc", False),
        "auc_p90": ("AUC per image, 90th percentile", "auc", False),
        "auc_max": ("AUC per image, largest", "auc", False),
    }
    return {
        f"{prefix}_{name}{suffix}": Value(
            f"{label}{place}",
            "match_retrained",
            "forgetting",
            unit,
            attack=attack,
            headline=f"{prefix}_{name}{suffix}" in headlines,
            signal=signal,
        )
        for suffix, place in places.items()
        for name, (label, unit, attack) in labels.items()
    }


class _LikelihoodRatios(PopulationMetric):
    """U-LiRA on each of `signals`: models that forgot an image against models that never saw it.

    Intervals are the jackknife's over pairs, all fits repeated: near twice too wide where there is no leak, and right
    where there is one. Resampling fitted ratios would be too narrow, covering 70 % where it says 95 %. An image's own
    AUC is that of its signal rather than of its ratio: its null is symmetric about 0.5 and it keeps its sign, whereas
    a ratio's direction is fitted anew in every fold. Its quantiles spread under perfect unlearning too, as those of
    retrained models show.
    """

    prefix: str
    signals: Mapping[str, Score]

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        found: dict[str, Finding] = {}
        for suffix, score in self.signals.items():
            pool, originals = (on_pool(side, population, score) for side in (models, population.original))
            check_same_splits(pool, originals, "original")
            found |= {f"{self.prefix}_{name}{suffix}": finding for name, finding in _attack(pool, originals).items()}
        return found


@register_metric(
    "u_lira",
    paradigms={"supervised"},
    tier="population",
    needs="ensemble",
    source="U-LiRA: Hayes et al., SaTML 2025, arXiv 2403.01218; pairs and shrinkage: METRICS 3",
    values=_ratio_values("u_lira", "loss", {"": ""}, {"u_lira_auc", "u_lira_auc_vulnerable"}),
)
class ULira(_LikelihoodRatios):
    """U-LiRA on the margins phi."""

    prefix = "u_lira"
    signals = MARGIN


@register_metric(
    "encoder_u_lira",
    paradigms=CONTRASTIVE,
    tier="population",
    needs="ensemble",
    source="project extension of Hayes et al., SaTML 2025, to the similarity of Liu et al., CCS 2021; METRICS 3",
    values=_ratio_values(
        "encoder_u_lira",
        "similarity",
        {"_head": ", head", "_backbone": ", backbone"},
        {"encoder_u_lira_auc_head"},
    ),
)
class EncoderULira(_LikelihoodRatios):
    """U-LiRA on the atanh of the mean similarity of an image's fixed views."""

    prefix = "encoder_u_lira"
    signals = SIMILARITIES


def _attack(pool: Pool, originals: Pool) -> dict[str, Finding]:
    """All values for one signal."""
    n, pairs = len(pool.indices), len(pool.scores) // 2
    halves = np.arange(pairs) % 2
    vulnerable = _vulnerable(originals, halves)
    fits, aucs = _fit(pool, halves, vulnerable)
    parts = np.array([_fit(pool.of(rest), halves[rest], vulnerable)[1] for rest in leaving_out(pairs)])
    sizes = (n, len(vulnerable[0]), n)
    rows = zip(aucs.tolist(), sizes, (jackknife(*of) for of in zip(aucs, parts.T, strict=True)), strict=True)
    found = {
        name: Finding(auc, size, max(low, 0.0), min(high, 1.0))
        for name, (auc, size, (low, high)) in zip(POOLED, rows, strict=True)
    }
    own = _auc_per_image(*pool.sides())
    found |= {
        "auc_p50": Finding(float(np.median(own)), n, per_example=own.tolist()),
        "auc_p90": Finding(float(np.quantile(own, 0.9)), n),
        "auc_max": Finding(float(own.max()), n),
        "balanced_accuracy": Finding(fits["balanced_accuracy"], n),
    }
    point = tpr_at_fpr(fits["llr"][pool.forgotten], fits["llr"][~pool.forgotten], 0.01)
    return found | ({"tpr": Finding(point["tpr"], n)} if point["resolved"] else {})


def _fit(pool: Pool, halves: Integers, vulnerable: Sequence[Integers]) -> tuple[UnlearningAttack, Floats]:
    """U-LiRA with shared variances, and the AUCs [3] that `POOLED` names; `halves` [S/2] is 0 or 1 for each pair."""
    groups = np.repeat(np.arange(len(halves)), 2)
    shared, per_side = (u_lira(pool.scores, pool.forgotten, groups, kind) for kind in ("shared", "per_side"))
    sides = pool._replace(scores=shared["llr"]).sides()
    chosen = [
        mia_auc(*(ratios[halves == half][:, images].ravel() for ratios in sides))
        for half, images in enumerate(vulnerable)
    ]
    return shared, np.array([shared["auc"], np.mean(chosen), per_side["auc"]])


def _vulnerable(originals: Pool, halves: Integers) -> list[Integers]:
    """For each half of the pairs the most memorised tenth of the images, as the other half's originals say (V6)."""
    seen, unseen = originals.sides()
    memorised = [memorisation(seen[halves != half], unseen[halves != half]) for half in (0, 1)]
    return [np.argsort(-of, kind="stable")[: ceil(len(of) / 10)] for of in memorised]


def memorisation(seen: Floats, unseen: Floats, nu0: float = 6.0) -> Floats:
    """(mean over models that saw an image - mean over those that did not) / sd within sides, shrunk as in U-LiRA.

    Args:
        seen: [J >= 2, n].
        unseen: [J, n].
        nu0: Weight of the mean variance, in degrees of freedom.

    Returns:
        [n], in standard deviations.

    Raises:
        ValueError: fewer than two models a side, or models that do not differ on any image.
    """
    at_least(len(seen), 2, "memorisation: seen", "models")
    squares = (centred(seen) ** 2).sum(axis=0) + (centred(unseen) ** 2).sum(axis=0)
    freedom = 2 * len(seen) - 2
    variance = (nu0 * squares.mean() / freedom + squares) / (nu0 + freedom)
    if not variance.all():
        raise ValueError("memorisation: the models do not differ; their spread is the unit.")
    return np.asarray((seen.mean(axis=0) - unseen.mean(axis=0)) / np.sqrt(variance))


def _auc_per_image(forgot: Floats, never: Floats) -> Floats:
    """[J, n] twice -> [n], each from all J x J pairs of models."""
    return np.asarray((1 + np.sign(forgot[:, None] - never[None])).mean(axis=(0, 1)) / 2)


# -- RMIA --------------------------------------------------------------------------------------------------


@register_metric(
    "u_rmia",
    paradigms={"supervised"},
    tier="population",
    needs="ensemble",
    source="RMIA: Zarifzadeh, Liu & Shokri, ICML 2024, arXiv 2312.03262; after unlearning: METRICS 3",
    values={
        "u_rmia_auc": Value("U-RMIA AUC", "match_retrained", "forgetting", "auc", attack=True, signal="loss"),
        "u_rmia_a": Value("U-RMIA offset a", "info", unit="number"),
        "u_rmia_tie_rate": Value("U-RMIA ties", "info"),
    },
)
class URmia(PopulationMetric):
    """Offline RMIA (gamma 1) with references that never saw the image, after the same unlearning.

    References of a model are up to 8 other pairs of its half of the pairs: of each the model that never saw the image.
    Its offset a is the strongest against the models of the other half, which share no model with it. Population points
    z are the test set, which no model saw, and for which both models of a reference pair answer. Where pool labels are
    noisy and test labels are not, z follows another law than the pool: it then calibrates only, costing resolution at
    the end of the noisy images, for both sides alike.
    """

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        pool = on_pool(models, population, margin)
        scores = _rmia_scores(pool, on_set(models, margin, "test"))
        sides = [[(row[own], row[~own]) for row, own in zip(rows, pool.forgotten, strict=True)] for rows in scores]
        aucs = np.array([[mia_auc(*both) for both in rows] for rows in sides])
        half = np.arange(len(models)) // 2 % 2
        strength = np.abs([aucs[:, half != own].mean(axis=1) - 0.5 for own in (0, 1)])
        chosen = strength.argmax(axis=1)[half]
        ties = [_tie_rate(*sides[a][model]) for model, a in enumerate(chosen)]
        n = len(pool.indices)
        return {
            "u_rmia_auc": over_pairs(aucs[chosen, np.arange(len(models))], n),
            "u_rmia_a": Finding(float(OFFSETS[chosen].mean()), n),
            "u_rmia_tie_rate": Finding(float(np.mean(ties)), n),
        }


def _rmia_scores(pool: Pool, margins_z: Floats) -> Floats:
    """[11, S, n]: the RMIA scores of every model for each offset a."""
    pairs = len(pool.scores) // 2
    at_least(pairs, 4, "u_rmia", "pairs of models")
    x, z = _probability(pool.scores), _probability(margins_z)
    never_x, pair_z = pool._replace(scores=x).sides()[1], z.reshape(pairs, 2, -1).mean(axis=1)
    scores = np.empty((len(OFFSETS), *x.shape))
    for model in range(len(x)):
        others = _references(model // 2, pairs)
        for place, a in enumerate(OFFSETS):
            scores[place, model] = rmia(x[model], never_x[others], z[model], pair_z[others], a)
    return scores


def _references(pair: int, pairs: int) -> Integers:
    """The pairs of the same half that come next, in a circle."""
    circle = np.arange(pair % 2, pairs, 2)
    return np.roll(circle, -(pair // 2))[1 : REFERENCES + 1]


def _probability(margins: Floats) -> Floats:
    """True-class probability; below the smallest that a float64 can divide by, images are alike."""
    return np.asarray(expit(np.maximum(margins, -700.0)))


def _tie_rate(members: Floats, nonmembers: Floats) -> float:
    """Share of pairs of a member and a non-member with equal scores."""
    values, place = np.unique(np.concatenate([members, nonmembers]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(values)) / len(part) for part in np.split(place, [len(members)])]
    return float(counts[0] @ counts[1])


# -- retain images -----------------------------------------------------------------------------------------


@register_metric(
    "retain_exposure",
    paradigms={"supervised"},
    tier="population",
    needs="ensemble",
    source="after the privacy onion effect, Carlini et al., NeurIPS 2022, arXiv 2206.10469; METRICS 3",
    values={
        "retain_auc": Value("retain against never-seen AUC", "match_retrained", "retain_privacy", "auc", signal="loss"),
    },
)
class RetainExposure(PopulationMetric):
    """How exposed retained images are: above retrained models' value, forgetting others exposed them more.

    This is a plain AUC of phi, retain images against images that the model never saw, averaged over models; it is
    neither LiRA nor RMIA. Both need models that never saw the attacked image, and every model of an ensemble, the
    retrained ones too, was trained on all retain images.
    """

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        if "retain/probe" not in models[0]:
            return {}
        pool = on_pool(models, population, margin)
        retain = on_set(models, margin, "retain")
        rows = zip(retain, pool.scores, pool.forgotten, strict=True)
        aucs = np.array([mia_auc(members, others[~forgotten]) for members, others, forgotten in rows])
        return {"retain_auc": over_pairs(aucs, retain.shape[1] + len(pool.indices))}


def over_pairs(per_seed: Floats, n: int) -> Finding:
    """Mean over models [S] with the t-interval over pairs, whose two models have exchanged the same images."""
    interval = t_interval(per_seed.reshape(-1, 2).mean(axis=1))
    return Finding(interval["mean"], n, interval["low"], interval["high"], per_seed=per_seed.tolist())
