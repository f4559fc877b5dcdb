"""Outputs -> numbers: every registered metric on the unlearned model and on its two anchors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import registry
from benchmark.api import Metric, MetricInfo, Outputs, References
from benchmark.metrics.attacks import roc_on_grid
from benchmark.specs import AttackCurves, Curve, MetricValue

FPR_GRID = np.linspace(0, 1, 51)
LEVELS = np.linspace(0, 1, 41)


def score(
    names: list[str], paradigm: str, outputs: Outputs, original: Outputs, retrained: Outputs
) -> dict[str, MetricValue]:
    """Value name -> number of the unlearned model between those of original and retrained.

    Args:
        names: Metric families.
        paradigm: Families that are not defined for it are left out.
        outputs: Of the unlearned model.
        original: Outputs of the original.
        retrained: Outputs of the retrained model.

    Raises:
        ValueError: From a metric that meets NaN, an empty set or anything else it must not guess about.
    """
    references = References(original, retrained)
    values: dict[str, MetricValue] = {}
    for metric, info in _applicable(names, paradigm):
        found = {name: metric.compute(o, references) for name, o in _models(outputs, original, retrained).items()}
        sizes, intervals = metric.sizes(outputs), metric.intervals(outputs)
        for name, value in found["unlearned"].items():
            meaning = info.values[name]
            low, high = intervals.get(name, (None, None))
            values[name] = MetricValue(
                value=value,
                original=found["original"][name],
                retrained=found["retrained"][name],
                n=sizes[name],
                goal=meaning.goal,
                role=meaning.role,
                label=meaning.label,
                unit=meaning.unit,
                attack=meaning.attack,
                headline=meaning.headline,
                low=low,
                high=high,
            )
    return values


def curves_of(
    names: list[str], paradigm: str, outputs: Outputs, original: Outputs, retrained: Outputs
) -> dict[str, AttackCurves]:
    """Headline attack -> ROC and quantiles of its scores on all three models, for figures."""
    curves: dict[str, AttackCurves] = {}
    for metric, info in _applicable(names, paradigm):
        by_model = {name: metric.scores(o) for name, o in _models(outputs, original, retrained).items()}
        for attack in (name for name in by_model["unlearned"] if info.values[name].headline):
            curves[attack] = AttackCurves(
                fpr=_short(FPR_GRID),
                levels=_short(LEVELS),
                label=info.values[attack].label,
                **{model: _curve(scores[attack]) for model, scores in by_model.items()},
            )
    return curves


def _models(outputs: Outputs, original: Outputs, retrained: Outputs) -> dict[str, Outputs]:
    return {"unlearned": outputs, "original": original, "retrained": retrained}


def _applicable(names: list[str], paradigm: str) -> list[tuple[Metric, MetricInfo]]:
    components = [registry.get("metric", name) for name in names]
    return [(c.target(), c.info) for c in components if paradigm in c.info.paradigms]


def _curve(scores: dict[str, NDArray[np.float64]]) -> Curve:
    tpr: Any = roc_on_grid(scores["forget"], scores["heldout"], FPR_GRID)
    quantiles = {name: _short(np.quantile(values, LEVELS)) for name, values in scores.items()}
    return Curve(tpr=_short(tpr), quantiles=quantiles)


def _short(values: Any) -> list[float]:
    """Five significant digits."""
    return [float(f"{value:.5g}") for value in values]
