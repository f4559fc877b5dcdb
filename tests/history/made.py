"""Made-up records for comparisons: one metric, as many seeds and methods as asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.history.compare import compare
from benchmark.history.model import Comparison, Row
from benchmark.history.reading import Side, as_side
from benchmark.specs import Cost, Provenance, Record, canonical_hash
from tests.report import factory

WORLD = factory.World("toy-random")
HARDWARE: dict[str, str | int] = {"processor": "one", "cores": 2}
PLACES = ("dataset", "original", "retrained", "unlearned", "original/outputs", "retrained/outputs", "unlearned/outputs")


def record(
    seed: int,
    value: float,
    method: str = "m",
    *,
    code: str = "old",
    retrained: float = 0.5,
    original: float = 0.9,
    goal: str = "match_retrained",
    seconds: float = 1.0,
    reference: float = 4.0,
    cost: Mapping[str, Any] | None = None,
    hardware: Mapping[str, str | int] = HARDWARE,
    versions: Mapping[str, str] | None = None,
    date: str = "2026-01-02T03:04:05+00:00",
    commit: str = "c" * 40,
    world: factory.World = WORLD,
    changed: Sequence[str] = ("unlearned", "unlearned/outputs"),
    **fields: Any,
) -> Record:
    """One run: a number, times, and keys that depend on `code` in the places of `changed`."""
    keys = {place: canonical_hash([place, seed, method, code if place in changed else ""]) for place in PLACES}
    base = {"train_seconds": 4.0, "observe_seconds": 0.1, "score_seconds": 0.1, "peak_memory_bytes": 1}
    times = {"unlearn_seconds": seconds, "unlearn_cpu_seconds": seconds, "retrain_seconds": reference}
    where = {"device": "cpu", "threads": 1, "load_average": 2.0}
    made: dict[str, Any] = {
        "key": canonical_hash([seed, method, code, world.name]),
        "metrics": {"leak": factory.metric(value, original, retrained, goal=goal)},
        "curves": {},
        "artefacts": keys,
        "cost": Cost(**{**base, **times, **where, **(cost or {})}),
        "provenance": Provenance(
            commit=commit, dirty=False, date=date, versions=dict(versions or {"torch": "2.9"}), hardware=dict(hardware)
        ),
    }
    return factory.record(world, factory.Method(method), seed, **{**made, **fields})


def exact(seeds: int, floor: float = 0.02, method: str = "exact", **fields: Any) -> list[Record]:
    """Exact retraining, whose gaps are up to `floor`: what every comparison needs for its noise."""
    signs = [1 if seed % 2 else -1 for seed in range(seeds)]
    return [record(seed, 0.5 + sign * floor, method, oracle=True, **fields) for seed, sign in enumerate(signs)]


def runs(values: Sequence[float], method: str = "m", **fields: Any) -> list[Record]:
    """One method on as many seeds as there are values."""
    return [record(seed, value, method, **fields) for seed, value in enumerate(values)]


def side(records: Sequence[Record], name: str = "side") -> Side:
    return as_side(name, name, records)


def held(before: Sequence[Record], after: Sequence[Record]) -> Comparison:
    return compare(side(before, "before"), side(after, "after"))


def only(comparison: Comparison, method: str = "m", metric: str = "leak") -> Row:
    """The one row of a method and number."""
    rows = [row for row in comparison.rows if (row.method, row.metric) == (method, metric)]
    assert len(rows) == 1, rows
    return rows[0]


def noisy(centre: float, spread: float, seeds: int, generator: np.random.Generator) -> list[float]:
    return list(generator.normal(centre, spread, seeds))
