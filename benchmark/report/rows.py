"""Rows of a task: anchors from what every metric value carries, methods from their seeds.

A method with a failed or diverged seed has no numbers: nothing is averaged over the seeds that went well.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from benchmark.metrics.cost import speedup
from benchmark.report.columns import BySeed, estimate
from benchmark.report.model import Cell, Curves, Estimate, Row
from benchmark.specs import AttackCurves, Cost, Curve, MetricValue, Record


def anchor_row(
    kind: Literal["original", "retrained"], records: list[Record], anchors: dict[str, dict[int, MetricValue]]
) -> Row:
    """`original` or `retrained`: from what every metric value carries, each seed once.

    Args:
        kind: Which of the two.
        records: Of the task, newest first.
        anchors: Metric -> seed -> a value.
    """
    original = kind == "original"
    cells = {
        name: _cell({seed: (v.original if original else v.retrained, v.retrained) for seed, v in by_seed.items()})
        for name, by_seed in anchors.items()
    }
    with_curves = {r.run.seed: r for r in reversed(records) if r.curves}
    costs = {r.run.seed: r.cost for r in reversed(records) if r.cost}
    return Row(
        name=kind,
        kind=kind,
        uses=[],
        n_seeds=len({record.run.seed for record in records}),
        statuses={},
        cells=cells,
        curves=_mean_curves(list(with_curves.values()), lambda c: c.original if original else c.retrained),
        seconds=_seconds([c.train_seconds if original else c.retrain_seconds for c in costs.values()]),
        speedup=None if original else 1.0,
    )


def method_row(method: str, by_seed: BySeed, n_seeds: int) -> Row:
    """A method on a task; `n_seeds` is how many seeds the task has been run with."""
    records = list(by_seed.values())
    row = Row(
        name=method,
        kind="oracle" if records[0].oracle else "method",
        uses=records[0].uses,
        n_seeds=len(records),
        statuses=dict(Counter(record.status for record in records)),
        optimises=records[0].optimises,
        remarks=_remarks(records, n_seeds),
        errors=[f"seed {r.run.seed}: {last_line(r.error)}" for r in records if r.error],
    )
    if row.failed:
        return replace(row, speedup=0.0)
    values: dict[str, dict[int, MetricValue]] = defaultdict(dict)
    for seed, record in by_seed.items():
        for name, value in record.metrics.items():
            values[name][seed] = value
    costs = [record.cost for record in records if record.cost]
    return replace(
        row,
        cells={name: _measured(found) for name, found in values.items()},
        curves=_mean_curves(records, lambda c: c.unlearned),
        seconds=_seconds([cost.unlearn_seconds for cost in costs]),
        speedup=_speedup(costs),
        peak_memory=max((cost.peak_memory_bytes for cost in costs), default=None),
        flops=_first(cost.flops for cost in costs),
    )


def _measured(values: dict[int, MetricValue]) -> Cell:
    cell = _cell({seed: (value.value, value.retrained) for seed, value in values.items()})
    return replace(cell, note=_first(value.note for value in values.values()))


def _cell(pairs: dict[int, tuple[float, float]]) -> Cell:
    """From seed -> (value, retrained)."""
    gaps = {seed: value - retrained for seed, (value, retrained) in sorted(pairs.items())}
    return Cell(
        value=estimate([pairs[seed][0] for seed in gaps]),
        gap=estimate(list(gaps.values())),
        distance=estimate([abs(gap) for gap in gaps.values()]),
        gaps=gaps,
    )


def _first(found: Iterable[Any]) -> Any:
    return next((one for one in found if one is not None), None)


def _seconds(seconds: list[float]) -> Estimate | None:
    """Geometric mean and interval, so that the printed times and the speed-up agree; None without a sound clock."""
    if not seconds or min(seconds) <= 0:
        return None
    logs = estimate([float(np.log(second)) for second in seconds])
    low, high = (None if end is None else float(np.exp(end)) for end in (logs.low, logs.high))
    return Estimate(float(np.exp(logs.mean)), low, high, logs.n_seeds)


def _speedup(costs: list[Cost]) -> float | None:
    if not costs or min(min(cost.retrain_seconds, cost.unlearn_seconds) for cost in costs) <= 0:
        return None
    return speedup([[c.retrain_seconds] for c in costs], [[c.unlearn_seconds] for c in costs], [0.0] * len(costs))


def _remarks(records: list[Record], n_seeds: int) -> list[str]:
    """What a reader must know of a row, in a few words each."""
    remarks = []
    counts = Counter(record.status for record in records if record.status != "ok")
    for status, count in counts.items():
        words = status.replace("_", " ")
        remarks.append(words if count == len(records) else f"{words} in {count} of {len(records)} seeds")
    if len(records) < n_seeds:
        remarks.append(f"{len(records)} of {n_seeds} seeds run")
    if any(record.run.params != records[0].run.params for record in records):
        remarks.append("settings differ between seeds")
    return remarks


def last_line(error: str | None) -> str:
    """What went wrong, without how it came about."""
    lines = (error or "").strip().splitlines()
    return lines[-1][:200] if lines else ""


def _mean_curves(records: list[Record], model: Callable[[AttackCurves], Curve]) -> dict[str, Curves]:
    """Attack -> curves averaged over seeds on the grid of the first; seeds without the attack are left out."""
    found: dict[str, list[AttackCurves]] = defaultdict(list)
    for record in records:
        for name, curves in record.curves.items():
            found[name].append(curves)
    return {name: _mean_curve(curves, model) for name, curves in found.items()}


def _mean_curve(found: list[AttackCurves], model: Callable[[AttackCurves], Curve]) -> Curves:
    first = found[0]
    shared = [name for name in model(first).quantiles if all(name in model(c).quantiles for c in found)]
    return Curves(
        label=first.label,
        fpr=first.fpr,
        tpr=_mean_on(first.fpr, [(c.fpr, model(c).tpr) for c in found]),
        levels=first.levels,
        quantiles={n: _mean_on(first.levels, [(c.levels, model(c).quantiles[n]) for c in found]) for n in shared},
    )


def _mean_on(grid: list[float], lines: list[tuple[list[float], list[float]]]) -> list[float]:
    values = [np.interp(grid, x, y) for x, y in lines]
    mean: list[float] = np.mean(values, axis=0).tolist()
    return mean
