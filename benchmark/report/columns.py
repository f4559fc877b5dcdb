"""Columns of a task from its records: what each metric means, whether it says anything (METRICS V2), its floor (V4)."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmark.report.model import Column, Estimate, Floor, Validity
from benchmark.specs import MetricValue, Record
from benchmark.stats import attack_validity, t_interval

BySeed = dict[int, Record]


def estimate(values: Sequence[float]) -> Estimate:
    """Mean over seeds with its 95 % t-interval; no interval for one seed."""
    if len(values) == 1:
        return Estimate(values[0], None, None, 1)
    interval = t_interval(values)
    return Estimate(interval["mean"], interval["low"], interval["high"], len(values))


def anchors_of(records: list[Record]) -> dict[str, dict[int, MetricValue]]:
    """Metric -> seed -> its newest value, which carries both anchors; metrics in the order of the newest record."""
    found: dict[str, dict[int, MetricValue]] = defaultdict(dict)
    for record in records:
        for name, value in record.metrics.items():
            found[name].setdefault(record.run.seed, value)
    return found


def columns_of(anchors: dict[str, dict[int, MetricValue]], oracles: list[BySeed]) -> dict[str, Column]:
    """Metric -> column.

    Args:
        anchors: Metric -> seed -> a value.
        oracles: The runs of each exact method that went well with every seed.
    """
    floors = _floors(oracles)
    return {name: _column(name, list(by_seed.values()), floors.get(name)) for name, by_seed in anchors.items()}


def gate(originals: Sequence[float]) -> Validity:
    """METRICS V2: an attack counts if its AUC beats chance on the originals; one seed cannot tell."""
    if min(originals) < 0 or max(originals) > 1:
        return "not_gated"
    if len(originals) == 1:
        return "one_seed"
    return "valid" if attack_validity(originals)["valid"] else "inconclusive"


def _column(name: str, values: list[MetricValue], floor: Floor | None) -> Column:
    newest = values[0]
    return Column(
        name=name,
        label=newest.label,
        goal=newest.goal,
        role=newest.role,
        attack=newest.attack,
        headline=newest.headline,
        unit=newest.unit,
        tier=newest.tier,
        signal=newest.signal,
        n=min(value.n for value in values),
        validity=gate([value.original for value in values]) if newest.attack else "not_gated",
        floor=floor,
    )


def _floors(oracles: list[BySeed]) -> dict[str, Floor]:
    """Metric -> floor. Means are over seeds, several exact methods averaged within each; the percentile is of all."""
    gaps: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for by_seed in oracles:
        for seed, record in by_seed.items():
            for name, value in record.metrics.items():
                gaps[name][seed].append(value.gap)
    return {
        name: Floor(
            distance=estimate([float(np.mean(np.abs(found))) for found in by_seed.values()]),
            gap=estimate([float(np.mean(found)) for found in by_seed.values()]),
            p95=percentile([gap for found in by_seed.values() for gap in found]),
        )
        for name, by_seed in gaps.items()
    }


def percentile(gaps: Sequence[float]) -> float:
    """What |gap| exceeds once in twenty times."""
    return float(np.quantile(np.abs(gaps), 0.95))
