"""Synthetic records that look like real ones: Gaussian attack scores whose shift is what a method left behind."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmark.specs import (
    AttackCurves,
    Cost,
    Curve,
    MetricValue,
    PopulationRecord,
    PopulationValue,
    Provenance,
    Record,
    RunSpec,
    Signal,
    Status,
    TaskSpec,
    canonical_hash,
)
from benchmark.store import PopulationRecords, Records

FPR = np.linspace(0, 1, 51)
LEVELS = np.linspace(0, 1, 41)


@dataclass(frozen=True)
class Model:
    """What a model does: `shift` of forget against held-out scores in standard deviations, accuracy in [0, 1]."""

    shift: float
    accuracy: float
    spread: float = 1.0


@dataclass(frozen=True)
class Method:
    """A made-up method; `placebo` is the shift that it leaves when it is given images that were never trained on."""

    name: str
    shift: float = 0.2
    drop: float = 1.0
    seconds: float = 10.0
    uses: tuple[str, ...] = ("forget", "retain")
    oracle: bool = False
    status: Status = "ok"
    spread: float = 1.0
    placebo: float = 0.6
    optimises: tuple[Signal, ...] = ()


@dataclass(frozen=True)
class World:
    """A task and how hard it is."""

    name: str = "toy-random"
    paradigm: str = "supervised"
    suite: str = "toy"
    original: Model = field(default_factory=lambda: Model(0.6, 0.93))
    retrained: Model = field(default_factory=lambda: Model(0.0, 0.92))
    attacks: tuple[str, ...] = ("leak_a", "leak_b")
    noise: float = 0.05
    spec: dict[str, Any] = field(default_factory=dict)


def record(
    world: World,
    method: Method,
    seed: int,
    *,
    placebo: bool = False,
    date: str = "2026-01-02T03:04:05+00:00",
    **changes: Any,
) -> Record:
    """A record of one run, or of one on a placebo; `changes` replace its fields."""
    rng = np.random.default_rng(int(canonical_hash([world.name, seed])[:8], 16))
    original, retrained = (_noisy(m, world.noise, rng) for m in (world.original, world.retrained))
    rng = np.random.default_rng(int(canonical_hash([world.name, method.name, seed])[:8], 16))
    accuracy = world.original.accuracy - method.drop / 100
    shift = method.placebo if placebo else method.shift
    unlearned = _noisy(Model(shift, accuracy, method.spread), world.noise, rng)
    if method.status == "no_change":
        unlearned = original
    scored = method.status not in ("failed", "diverged")
    metrics = ["attacks", "accuracy"]
    run = RunSpec(task=_task(world), method=method.name, params={}, seed=seed, metrics=metrics, placebo=placebo)
    fields: dict[str, Any] = {
        "key": canonical_hash([world.name, method.name, seed, placebo]),
        "suite": world.suite,
        "run": run,
        "paradigm": world.paradigm,
        "uses": list(method.uses),
        "oracle": method.oracle,
        "optimises": list(method.optimises),
        "status": method.status,
        "error": None if scored else "Traceback …\nValueError: the loss is not finite.",
        "sizes": {"forget": 500, "heldout": 500},
        "metrics": _metrics(world, unlearned, original, retrained) if scored else {},
        "curves": _curves(world, unlearned, original, retrained) if scored else {},
        "cost": _cost(method, rng) if scored else None,
        "provenance": _provenance(date),
    }
    return Record(**{**fields, **changes})


def suite(world: World, methods: Iterable[Method], seeds: Sequence[int] = range(5)) -> list[Record]:
    """Every method on every seed."""
    return [record(world, method, seed) for method in methods for seed in seeds]


def placebos(world: World, methods: Iterable[Method], seeds: Sequence[int] = range(5)) -> list[Record]:
    """Every method on every seed, with a forget set that was never trained on."""
    return [record(world, method, seed, placebo=True) for method in methods for seed in seeds]


def exact(
    distances: Sequence[float], name: str = "m", world: World | None = None, label: str = "leak AUC", **fields: Any
) -> list[Record]:
    """One method's records with one attack: original .9, retrained .5, unlearned as far above it as asked, by seed."""
    world, method = world or World(), Method(**{"name": name, **fields})
    return [
        record(world, method, seed, metrics={"leak": metric(0.5 + d, 0.9, 0.5, label=label)}, curves={})
        for seed, d in enumerate(distances)
    ]


def population(
    world: World,
    method: Method,
    metrics: dict[str, PopulationValue],
    seeds: Sequence[int] = range(5),
    date: str = "2026-01-02T03:04:05+00:00",
    **changes: Any,
) -> PopulationRecord:
    """What all seeds of a method say together; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "key": canonical_hash([world.name, method.name, "population"]),
        "suite": world.suite,
        "task": _task(world),
        "method": method.name,
        "params": {},
        "seeds": list(seeds),
        "oracle": method.oracle,
        "status": method.status,
        "metrics": metrics,
        "seconds": 1.0,
        "runs": [],
        "provenance": _provenance(date),
    }
    return PopulationRecord(**{**fields, **changes})


def panel(per_seed: Sequence[float], original: Sequence[float], **changes: Any) -> PopulationValue:
    """The distance of a panel of attacks, seed by seed."""
    fields: dict[str, Any] = {"goal": "min", "role": "forgetting", "label": "worst attack", "unit": "auc"}
    fields |= {"headline": True, "n": 500, "value": float(np.mean(per_seed))}
    fields |= {"original": float(np.mean(original)) if original else None}
    fields |= {"retrained": None, "per_seed": list(per_seed), "original_per_seed": list(original)}
    return PopulationValue(**{**fields, **changes})


def pooled(
    value: float, original: float | None = 0.8, retrained: float | None = 0.5, **changes: Any
) -> PopulationValue:
    """An attack on the forget set that reads all seeds' models at once."""
    fields: dict[str, Any] = {"goal": "match_retrained", "role": "forgetting", "label": "strong AUC", "unit": "auc"}
    fields |= {"attack": True, "headline": True, "tier": "population", "n": 500, "low": value - 0.02}
    fields |= {"value": value, "original": original, "retrained": retrained, "high": value + 0.02}
    return PopulationValue(**{**fields, **changes})


def write(results: Path, records: Iterable[Record], populations: Iterable[PopulationRecord] = ()) -> Path:
    """Leave records in a results folder."""
    for one in records:
        Records(results).add(one, fresh=True)
    for other in populations:
        PopulationRecords(results).add(other, fresh=True)
    return results


def metric(value: float, original: float, retrained: float, **changes: Any) -> MetricValue:
    """A metric value; an attack on the forget set unless changed."""
    fields: dict[str, Any] = {"n": 500, "goal": "match_retrained", "role": "forgetting", "label": "leak", "unit": "auc"}
    fields |= {"attack": True, "headline": True}
    return MetricValue(value=value, original=original, retrained=retrained, **{**fields, **changes})


def _task(world: World) -> TaskSpec:
    fields: dict[str, Any] = {
        "name": world.name,
        "dataset": "toy",
        "learner": world.paradigm,
        "scenario": "random",
        "split": {"train": 2000},
        "recipe": {"lr": 0.1, "epochs": 5, "batch_size": 64},
    }
    return TaskSpec(**{**fields, **world.spec})


def _provenance(date: str) -> Provenance:
    return Provenance(commit="c" * 40, dirty=False, date=date, versions={}, hardware={})


def _noisy(model: Model, noise: float, rng: np.random.Generator) -> Model:
    return Model(model.shift + noise * rng.normal(), model.accuracy + 0.003 * rng.normal(), model.spread)


def _auc(shift: float) -> float:
    return float(norm.cdf(shift / math.sqrt(2)))


def _metrics(world: World, unlearned: Model, original: Model, retrained: Model) -> dict[str, MetricValue]:
    models = {"value": unlearned, "original": original, "retrained": retrained}
    found = {}
    for place, name in enumerate(world.attacks):
        aucs = {key: _auc(model.shift * (1 - 0.1 * place)) for key, model in models.items()}
        label = f"{name.replace('_', ' ')} AUC"
        found[name] = metric(**aucs, label=label, low=aucs["value"] - 0.03, high=aucs["value"] + 0.03)
    kept = {key: _auc(0.5 + model.shift / 3) for key, model in models.items()}
    found["leak_kept"] = metric(**kept, role="retain_privacy", attack=False, label="retain AUC")
    lost = {key: 100 * (original.accuracy - model.accuracy) for key, model in models.items()}
    found["lost"] = metric(
        **lost, goal="min", role="utility", unit="points", attack=False, label="accuracy drop (points)"
    )
    right = {key: model.accuracy for key, model in models.items()}
    found["right"] = metric(**right, goal="max", role="info", unit="fraction", attack=False, label="test accuracy")
    recalled = {key: model.accuracy + model.shift / 20 for key, model in models.items()}
    found["recalled"] = metric(
        **recalled, role="info", unit="fraction", attack=False, headline=False, label="forget accuracy"
    )
    return found


def _curves(world: World, unlearned: Model, original: Model, retrained: Model) -> dict[str, AttackCurves]:
    models = {"unlearned": unlearned, "original": original, "retrained": retrained}
    found = {}
    for name in world.attacks:
        curves = {key: _curve(model) for key, model in models.items()}
        found[name] = AttackCurves(
            fpr=FPR.tolist(), levels=LEVELS.tolist(), label=f"{name.replace('_', ' ')} AUC", **curves
        )
    return found


def _curve(model: Model) -> Curve:
    tpr = norm.sf(norm.isf(FPR) - model.shift)
    points = norm.ppf(LEVELS.clip(0.002, 0.998)) * model.spread
    shifts = {"forget": model.shift, "heldout": 0.0, "third_party": 0.03}
    quantiles = {name: (3 + points + model.spread * shift).tolist() for name, shift in shifts.items()}
    return Curve(tpr=tpr.tolist(), quantiles=quantiles)


def _cost(method: Method, rng: np.random.Generator) -> Cost:
    seconds = method.seconds * float(np.exp(0.1 * rng.normal()))
    return Cost(
        unlearn_seconds=seconds,
        unlearn_cpu_seconds=seconds,
        train_seconds=110.0 + 5 * float(rng.normal()),
        retrain_seconds=100.0 + 5 * float(rng.normal()),
        observe_seconds=1.0,
        score_seconds=0.5,
        peak_memory_bytes=10**9,
        device="cpu",
        threads=1,
        load_average=1.0,
    )
