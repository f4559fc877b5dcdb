"""Outputs of many seeds' models -> what they say together: stacks of the whole pool, and population metrics on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import registry
from benchmark.api import Finding, MetricInfo, Outputs, Population, PopulationMetric
from benchmark.specs import PopulationValue

_PARTS = ("forget", "heldout")


def measure(metrics: Sequence[str], unlearned: Sequence[Outputs], population: Population) -> dict[str, PopulationValue]:
    """Value name -> number of the unlearned models between those of the originals and of retrained models.

    Args:
        metrics: Families to compute, all defined for the task.
        unlearned: Outputs of one method's models, in the order of the seeds.
        population: What they are held against.

    Raises:
        ValueError: From a metric that meets NaN, pools that differ or anything else it must not guess about.
    """
    values: dict[str, PopulationValue] = {}
    for name in metrics:
        component = registry.get("metric", name)
        metric: PopulationMetric = component.target()
        info: MetricInfo = component.info
        found = metric.compute(unlearned, population)
        before = metric.compute(population.original, population)
        null = metric.compute(population.retrained, population) if _has_null(info) else {}
        for value, finding in found.items():
            values[value] = PopulationValue(
                **vars(info.values[value]),
                tier=info.tier,
                **_shortened(finding),
                original=before[value].value if value in before else None,
                retrained=null[value].value if value in null else None,
                original_per_seed=_short(before[value].per_seed) if value in before else [],
            )
    return values


def stacked(models: Sequence[Outputs]) -> dict[str, NDArray[Any]]:
    """What was observed of many models on one pool, as arrays over models and images.

    Args:
        models: S outputs whose forget and held-out sets part the same pool.

    Returns:
        `pool/indices` [n] int64, increasing; `pool/forgotten` [S, n] bool; every other array of the two sets as
        `pool/<name>` [S, n, ...] in float32, labels in int64.

    Raises:
        ValueError: If pools differ.
    """
    pool = np.sort(_joined(models[0], "indices"))
    order = [np.argsort(_joined(model, "indices")) for model in models]
    if any(not np.array_equal(_joined(model, "indices")[o], pool) for model, o in zip(models, order, strict=True)):
        raise ValueError("the models' pools differ; seeds of one ensemble part the same pool.")
    names = [name.partition("/")[2] for name in models[0] if name.startswith("forget/")]
    forgotten = [np.repeat([True, False], [len(model[f"{part}/indices"]) for part in _PARTS]) for model in models]
    stacks = {f"pool/{n}": np.stack([_joined(m, n)[o] for m, o in zip(models, order, strict=True)]) for n in names}
    return stacks | {
        "pool/indices": pool,
        "pool/forgotten": np.stack([f[o] for f, o in zip(forgotten, order, strict=True)]),
    }


def together(statuses: Mapping[int, str]) -> str | None:
    """Why seeds cannot be measured together: one failed, diverged or is missing (METRICS V11); None if they can."""
    bad = {seed: status for seed, status in statuses.items() if status in ("failed", "diverged", "missing")}
    if not bad:
        return None
    listed = ", ".join(f"{seed} ({status})" for seed, status in list(bad.items())[:5])
    return f"{len(bad)} of {len(statuses)} seeds have no model to measure: {listed}."


def _joined(model: Outputs, name: str) -> NDArray[Any]:
    return np.concatenate([model[f"{part}/{name}"] for part in _PARTS])


def _has_null(info: MetricInfo) -> bool:
    return all(value.goal in ("match_retrained", "info") for value in info.values.values())


def _shortened(finding: Finding) -> dict[str, Any]:
    lists = {"per_seed": _short(finding.per_seed), "per_example": _short(finding.per_example)}
    return {"value": finding.value, "n": finding.n, "low": finding.low, "high": finding.high, **lists}


def _short(values: Sequence[float]) -> list[float]:
    """Five significant digits."""
    return [float(f"{value:.5g}") for value in values]
