"""Outputs -> numbers: what each registered metric says of a model, and of the two it is held against.

Numbers are kept by metric and model, so that all methods of a seed share those of original and retrained models, and
a metric that changes is computed again alone.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import registry
from benchmark.api import Metric, MetricInfo, Outputs, References
from benchmark.keys import numbers_key
from benchmark.metrics.attacks import roc_on_grid
from benchmark.specs import AttackCurves, Curve, MetricValue
from benchmark.store import Store

FPR_GRID = np.linspace(0, 1, 51)
LEVELS = np.linspace(0, 1, 41)
ROLES = ("unlearned", "original", "retrained")


class Scorer:
    """Scores runs from a store; what it has read or computed once it remembers.

    Args:
        store: Holds the outputs, and takes the numbers.
        sources: Metric -> hash of its source, for those that are to be computed.
        observe: Role -> outputs of one of the run's models, from the store or made again.
    """

    def __init__(self, store: Store, sources: Mapping[str, str], observe: Callable[[str], Outputs]) -> None:
        self._store, self._sources, self._observe = store, sources, observe
        self._outputs: dict[str, Outputs] = {}
        self._numbers: dict[str, dict[str, dict[str, Any]]] = {}
        self._references: dict[tuple[int, int], References] = {}

    def observing(self, observe: Callable[[str], Outputs]) -> "Scorer":
        """One for another run, that remembers what this one does."""
        other = copy.copy(self)
        other._observe = observe  # caches are shared, for they are the same dictionaries
        return other

    def outputs(self, role: str, keys: Mapping[str, str]) -> Outputs:
        """All that was observed of one of a run's models."""
        wanted = str([key for name, key in keys.items() if name.startswith(f"{role}/")])
        if wanted not in self._outputs:
            self._outputs[wanted] = self._observe(role)
        return self._outputs[wanted]

    def score(self, keys: Mapping[str, str], fresh: bool = False) -> dict[str, MetricValue]:
        """Value name -> number of the unlearned model between those of original and retrained.

        Args:
            keys: Of the run's models and their outputs.
            fresh: Compute again what is stored.

        Raises:
            ValueError: From a metric that meets NaN, an empty set or anything else it must not guess about.
        """
        values: dict[str, MetricValue] = {}
        for _, info in _chosen(self._sources):
            by_role = {role: self._of(info.name, role, keys, fresh) for role in ROLES}
            anchors = {role: by_role[role] for role in ("original", "retrained")}
            for name in (name for name in info.values if name in by_role["unlearned"]):  # the first is the first read
                meaning = vars(info.values[name]) | {"tier": info.tier}
                ends = {role: numbers[name]["value"] for role, numbers in anchors.items()}
                values[name] = MetricValue(**meaning, **by_role["unlearned"][name], **ends)
        return values

    def curves(self, keys: Mapping[str, str]) -> dict[str, AttackCurves]:
        """Headline attack -> ROC and quantiles of its scores on all three models, for figures."""
        curves: dict[str, AttackCurves] = {}
        for metric, info in _chosen(self._sources):
            if not any(value.attack for value in info.values.values()):
                continue
            by_role = {role: metric.scores(self.outputs(role, keys)) for role in ROLES}
            for attack in (name for name in by_role["unlearned"] if info.values[name].headline):
                curves[attack] = AttackCurves(
                    fpr=_short(FPR_GRID),
                    levels=_short(LEVELS),
                    label=info.values[attack].label,
                    **{role: _curve(scores[attack]) for role, scores in by_role.items()},
                )
        return curves

    def _of(self, metric: str, role: str, keys: Mapping[str, str], fresh: bool) -> dict[str, dict[str, Any]]:
        """Value name -> number, size and interval of one model."""
        key = numbers_key(metric, self._sources[metric], role, keys)
        if key not in self._numbers:
            found = None if fresh else self._store.meta(key)
            if found is None:
                found = _numbers(registry.get("metric", metric).target(), self.outputs(role, keys), self._anchors(keys))
                self._store.put(key, meta=found, replace=fresh)
            self._numbers[key] = found
        return self._numbers[key]

    def _anchors(self, keys: Mapping[str, str]) -> References:
        """The same for all runs that share their original and retrained model."""
        original, retrained = self.outputs("original", keys), self.outputs("retrained", keys)
        return self._references.setdefault((id(original), id(retrained)), References(original, retrained))


def _numbers(metric: Metric, outputs: Outputs, references: References) -> dict[str, dict[str, Any]]:
    values = metric.compute(outputs, references)
    sizes, intervals, notes = metric.sizes(outputs), metric.intervals(outputs), metric.notes(outputs)
    return {
        name: {
            "value": value,
            "n": sizes[name],
            **dict(zip(("low", "high"), intervals.get(name, (None, None)), strict=True)),
            "note": notes.get(name),
        }
        for name, value in values.items()
    }


def _chosen(sources: Mapping[str, str]) -> Iterator[tuple[Metric, MetricInfo]]:
    components = [registry.get("metric", name) for name in sources]
    return ((component.target(), component.info) for component in components)


def _curve(scores: dict[str, NDArray[np.float64]]) -> Curve:
    tpr: Any = roc_on_grid(scores["forget"], scores["heldout"], FPR_GRID)
    quantiles = {name: _short(np.quantile(values, LEVELS)) for name, values in scores.items()}
    return Curve(tpr=_short(tpr), quantiles=quantiles)


def _short(values: Any) -> list[float]:
    """Five significant digits."""
    return [float(f"{value:.5g}") for value in values]
