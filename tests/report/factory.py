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
    Provenance,
    Record,
    RunSpec,
    Status,
    TaskSpec,
    canonical_hash,
)
from benchmark.store import Records

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
    """A made-up method."""

    name: str
    shift: float = 0.2
    drop: float = 1.0
    seconds: float = 10.0
    uses: tuple[str, ...] = ("forget", "retain")
    oracle: bool = False
    status: Status = "ok"
    spread: float = 1.0


@dataclass(frozen=True)
class World:
    """A task and how hard it is."""

    name: str = "toy-random"
    paradigm: str = "supervised"
    original: Model = field(default_factory=lambda: Model(0.6, 0.93))
    retrained: Model = field(default_factory=lambda: Model(0.0, 0.92))
    attacks: tuple[str, ...] = ("leak_a", "leak_b")
    noise: float = 0.05
    spec: dict[str, Any] = field(default_factory=dict)


def record(
    world: World, method: Method, seed: int, *, date: str = "2026-01-02T03:04:05+00:00", **changes: Any
) -> Record:
    """A record of one run; `changes` replace its fields."""
    rng = np.random.default_rng(int(canonical_hash([world.name, seed])[:8], 16))
    original, retrained = (_noisy(m, world.noise, rng) for m in (world.original, world.retrained))
    rng = np.random.default_rng(int(canonical_hash([world.name, method.name, seed])[:8], 16))
    accuracy = world.original.accuracy - method.drop / 100
    unlearned = _noisy(Model(method.shift, accuracy, method.spread), world.noise, rng)
    if method.status == "no_change":
        unlearned = original
    scored = method.status not in ("failed", "diverged")
    run = RunSpec(task=_task(world), method=method.name, params={}, seed=seed, metrics=["attacks", "accuracy"])
    fields: dict[str, Any] = {
        "key": canonical_hash([world.name, method.name, seed]),
        "suite": "toy",
        "run": run,
        "paradigm": world.paradigm,
        "uses": list(method.uses),
        "oracle": method.oracle,
        "status": method.status,
        "error": None if scored else "Traceback …\nValueError: the loss is not finite.",
        "sizes": {"forget": 500, "heldout": 500},
        "metrics": _metrics(world, unlearned, original, retrained) if scored else {},
        "curves": _curves(world, unlearned, original, retrained) if scored else {},
        "cost": _cost(method, rng) if scored else None,
        "provenance": Provenance(commit="c" * 40, dirty=False, date=date, versions={}, hardware={}),
    }
    return Record(**{**fields, **changes})


def suite(world: World, methods: Iterable[Method], seeds: Sequence[int] = range(5)) -> list[Record]:
    """Every method on every seed."""
    return [record(world, method, seed) for method in methods for seed in seeds]


def write(results: Path, records: Iterable[Record]) -> Path:
    """Leave records in a results folder."""
    folder = Records(results)
    for one in records:
        folder.add(one)
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
