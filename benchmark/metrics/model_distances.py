"""Is an unlearned model a draw from the same law as a retrained one? Compared image by image, over many models.

KLOM: Georgiev et al. (ICLR 2025, 2410.23232), its null subtracted. Forgetting quality: Triantafillou et al. (2024,
2406.09073), as a multiple of its null. Energy distance: Szekely & Rizzo (2013). Unlearned models are compared with
retrained ones of other seeds only, so that nothing but the law is shared.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from benchmark.api import CONTRASTIVE, Finding, Outputs, Population, PopulationMetric, Value, register_metric
from benchmark.metrics._checks import Floats, centred
from benchmark.metrics.distances import energy_distance
from benchmark.metrics.pools import (
    MARGIN,
    SIMILARITIES,
    Score,
    check_same_splits,
    jackknife,
    leaving_out,
    margin,
    on_pool,
    on_set,
)
from benchmark.metrics.population import competition_forgetting_quality, klom0
from benchmark.specs import Signal, derive_seed

RESAMPLES = 2000


class Samples(NamedTuple):
    """Scores [J, n] of images under unlearned models, and two independent sets of retrained models.

    Row j holds models of pair j. `reference` are of its other seed than `unlearned`, `second` of the same one;
    `unlearned` and `second` are each compared with `reference`, never with one another.
    """

    unlearned: Floats
    reference: Floats
    second: Floats


def samples_on_pool(models: Sequence[Outputs], population: Population, score: Score) -> Samples:
    """For every image of the pool, the one model of each pair that forgot it.

    Raises:
        ValueError: As `on_pool`, or if retrained models stand on another pool or another split.
    """
    unlearned, retrained = (on_pool(side, population, score) for side in (models, population.retrained))
    check_same_splits(unlearned, retrained, "retrained")
    same_seed, other_seed = retrained.sides()
    return Samples(unlearned.sides()[0], other_seed, same_seed)


def samples_on_set(models: Sequence[Outputs], population: Population, score: Score, name: str) -> list[Samples]:
    """On "retain" or "test" all models count: even seeds' against odd seeds' retrained ones, and vice versa."""
    unlearned, retrained = (on_set(side, score, name) for side in (models, population.retrained))
    return [Samples(unlearned[a::2], retrained[b::2], retrained[a::2]) for a, b in ((0, 1), (1, 0))]


def _shared_sets(models: Sequence[Outputs], *names: str) -> list[str]:
    """Those of `names` that may be compared: no retain set where a whole class is forgotten."""
    return [name for name in names if name != "retain" or "retain/probe" in models[0]]


# -- KLOM --------------------------------------------------------------------------------------------------


@register_metric(
    "klom",
    paradigms={"supervised"},
    tier="population",
    needs="ensemble",
    source="KLOM: Georgiev et al., ICLR 2025, arXiv 2410.23232; null subtracted: METRICS 3",
    values={
        "klom0": Value("KLOM", "min", "forgetting", "number", headline=True, signal="loss"),
        "klom0_p95": Value("KLOM, 95th percentile", "min", "forgetting", "number", signal="loss"),
        "klom0_retain": Value("KLOM, retain", "min", unit="number", signal="loss"),
        "klom0_test": Value("KLOM, test", "min", unit="number", signal="loss"),
    },
)
class Klom(PopulationMetric):
    """KL divergence of margins, unlearned || retrained, minus that of retrained || retrained: mean 0 if perfect.

    J = S/2 models a side (METRICS V15: never compare across J, which the task's name tells). The mean's null is 0
    whatever J; the percentile's is not. At J <= 50 an unlearner whose models vary too little scores below 0: read it
    beside the energy distance.
    """

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        own = klom0(*samples_on_pool(models, population, margin))
        found = {
            "klom0": Finding(float(own.mean()), len(own), per_example=own.tolist()),
            "klom0_p95": Finding(float(np.quantile(own, 0.95)), len(own)),
        }
        for name in _shared_sets(models, "retain", "test"):
            values = np.mean([klom0(*sample) for sample in samples_on_set(models, population, margin, name)], axis=0)
            found[f"klom0_{name}"] = Finding(float(values.mean()), len(values))
        return found


# -- the competition's forgetting quality ------------------------------------------------------------------


@register_metric(
    "forgetting_quality",
    paradigms={"supervised"},
    tier="population",
    needs="ensemble",
    source="NeurIPS 2023 competition: Triantafillou et al. 2024, arXiv 2406.09073; ratio to its null: METRICS 3",
    values={
        "forgetting_quality_ratio": Value("forgetting quality", "max", "forgetting", "number", signal="loss"),
        "forgetting_quality_score": Value("competition score", "info", signal="loss"),
        "forgetting_quality_variance_ratio": Value("variance, unlearned / retrained", "info", unit="number"),
    },
)
class ForgettingQuality(PopulationMetric):
    """The competition's score as a multiple of what a second set of retrained models scores: 1 if perfect.

    The interval resamples images. A variance ratio far above 1 warns that a good score may be injected noise.
    """

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        unlearned, reference, second = samples_on_pool(models, population, margin)
        spreads = [float((centred(sample) ** 2).sum()) for sample in (unlearned, reference)]
        if not spreads[1]:
            raise ValueError("forgetting_quality: the retrained models do not differ; their spread is the unit.")
        points, null = _points(unlearned, reference), _points(second, reference)
        if not null.any():
            raise ValueError("forgetting_quality: retrained models score 0 against retrained ones; no ratio exists.")
        n = len(points)
        low, high = _ratio_interval(points, null)
        return {
            "forgetting_quality_ratio": Finding(float(points.sum() / null.sum()), n, low, high),
            "forgetting_quality_score": Finding(float(points.mean()), n, per_example=points.tolist()),
            "forgetting_quality_variance_ratio": Finding(spreads[0] / spreads[1], n),
        }


def _points(unlearned: Floats, retrained: Floats) -> Floats:
    """[J, n] twice -> [n]: the competition's points of every image."""
    columns = zip(unlearned.T[:, :, None], retrained.T[:, :, None], strict=True)
    return np.array([competition_forgetting_quality(*column)["score"] for column in columns])


def _ratio_interval(points: Floats, null: Floats) -> tuple[float, float]:
    """95 % percentile interval of sum(points) / sum(null), from resampling images [n]."""
    n = len(points)
    generator = np.random.default_rng(derive_seed("images", "bootstrap"))
    times = generator.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    least = null[null > 0].min()  # what a resample without any point of the null is given
    low, high = np.quantile((times @ points) / np.maximum(times @ null, least), [0.025, 0.975])
    return float(low), float(high)


# -- energy distance ---------------------------------------------------------------------------------------

_SUMMARIES: Mapping[str, tuple[str, Callable[[Floats], float]]] = {
    "": ("", lambda distances: float(distances.mean())),
    "_p95": (", 95th percentile", lambda distances: float(np.quantile(distances, 0.95))),
    "_worst": (", worst tenth", lambda distances: float(np.sort(distances)[-ceil(len(distances) / 10) :].mean())),
}
"""Part of a value's name -> part of its label, and how the distances [n] of all images become one number."""


def _energy_values(
    prefix: str, signal: Signal, places: Mapping[str, str], sets: Sequence[str], headline: str
) -> dict[str, Value]:
    """The values of `_EnergyDistances`; `places` is ending of a name -> ending of a label."""
    values: dict[str, Value] = {}
    for suffix, place in places.items():
        for summary, (word, _) in _SUMMARIES.items():
            name, label = f"{prefix}{summary}{suffix}", f"energy distance{word}{place}"
            values[name] = Value(label, "min", "forgetting", "number", headline=name == headline, signal=signal)
            values[f"{prefix}{summary}_floor{suffix}"] = Value(f"{label}, retrained", "info", unit="number")
        for other in sets:
            label = f"energy distance, {other}{place}"
            values[f"{prefix}_{other}{suffix}"] = Value(label, "min", unit="number", signal=signal)
    return values


class _EnergyDistances(PopulationMetric):
    """Energy distance over models per image, in sds of the retrained models: never clipped.

    If perfect, its mean is 0 but for what dividing by an estimated sd adds: .02 / .004 / .001 sds at 8 / 16 / 32
    models a side. Percentile and worst tenth are taken from the distances that they summarise and so are well above
    0 even then. Beside each number stands its floor, the same between two sets of retrained models. The interval is
    the jackknife's over pairs of models: a bootstrap would repeat models, which an unbiased distance must not.
    """

    prefix: str
    signals: Mapping[str, Score]
    sets: tuple[str, ...]

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        found: dict[str, Finding] = {}
        for suffix, score in self.signals.items():
            pool = samples_on_pool(models, population, score)
            own, floor = _distances(pool.unlearned, pool.reference), _distances(pool.second, pool.reference)
            for summary, (_, of) in _SUMMARIES.items():
                found[f"{self.prefix}{summary}{suffix}"] = Finding(of(own), len(own))
                found[f"{self.prefix}{summary}_floor{suffix}"] = Finding(of(floor), len(floor))
            rests = (
                _distances(pool.unlearned[kept], pool.reference[kept]) for kept in leaving_out(len(pool.unlearned))
            )
            low, high = jackknife(float(own.mean()), [rest.mean() for rest in rests])
            found[f"{self.prefix}{suffix}"] = Finding(float(own.mean()), len(own), low, high, per_example=own.tolist())
            for name in _shared_sets(models, *self.sets):
                samples = samples_on_set(models, population, score, name)
                values = np.mean([_distances(s.unlearned, s.reference) for s in samples], axis=0)
                found[f"{self.prefix}_{name}{suffix}"] = Finding(float(values.mean()), len(values))
        return found


@register_metric(
    "energy_models",
    paradigms={"supervised"},
    tier="population",
    needs="ensemble",
    source="Szekely & Rizzo, J. Stat. Planning and Inference 2013; METRICS 2.4",
    values=_energy_values("energy_models", "loss", {"": ""}, ("retain", "test"), "energy_models"),
)
class EnergyModels(_EnergyDistances):
    """Energy distance of margins."""

    prefix = "energy_models"
    signals = MARGIN
    sets = ("retain", "test")


@register_metric(
    "encoder_energy",
    paradigms=CONTRASTIVE,
    tier="population",
    needs="ensemble",
    source="project extension of the energy distance to the similarity of Liu et al., CCS 2021; METRICS 3",
    values=_energy_values(
        "encoder_energy",
        "similarity",
        {"_head": ", head", "_backbone": ", backbone"},
        ("retain",),
        "encoder_energy_head",
    ),
)
class EncoderEnergy(_EnergyDistances):
    """Energy distance of the atanh of the mean similarity of views, which are not drawn for test images."""

    prefix = "encoder_energy"
    signals = SIMILARITIES
    sets = ("retain",)


def _distances(unlearned: Floats, retrained: Floats) -> Floats:
    return energy_distance(unlearned, retrained, normalise=True, paired=False)
