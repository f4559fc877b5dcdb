"""A suite -> the graph of jobs with content keys: what there is to do, what is cached, what it will cost.

A key is the sha256 of canonical JSON of all that determines a result: data, split, learner, recipe, method with its
parameters, seed, numerics, and the source of the code that takes part. Who runs it, where and how often is not in it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import ROOT, registry
from benchmark.api import MethodInfo
from benchmark.components import build
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.specs import Record, Ref, RunSpec, Suite, TaskSpec, canonical_hash

SUITES = ROOT / "suites"

_DATA_CODE = ("data.py",)
_TRAINING_CODE = ("training.py", "learners/base.py", "learners/encoders.py", "learners/factory.py", "learners/views.py")
_METHOD_CODE = ("input_gradients.py",)
_OBSERVING_CODE = ("observe.py",)
_SCORING_CODE = ("scoring.py",)


@dataclass(frozen=True)
class Options:
    """What a command adds to a suite: where things lie and what is selected."""

    store: Path
    results: Path
    data: Path
    device: str = "cpu"
    threads: int = 1
    fresh: bool = False
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass
class Plan:
    """The jobs of a suite in an order that respects what they need.

    Attributes:
        suite: Its name.
        jobs: Job key -> JSON.
        cached: Runs that have a record already.
        not_applicable: (task, method, why).
        estimates: Job key -> expected seconds, where earlier records tell.
    """

    suite: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    not_applicable: list[tuple[str, str, str]] = field(default_factory=list)
    estimates: dict[str, float] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """Runs to do."""
        return sum(job["kind"] == "run" for job in self.jobs.values())

    def seconds(self) -> float | None:
        """Expected seconds of work on one core; None if nothing is known yet."""
        known = [self.estimates[key] for key in self.jobs if key in self.estimates]
        return sum(known) * len(self.jobs) / len(known) if known else None


def make_plan(
    suite: Suite,
    options: Options,
    fingerprint: Callable[[TaskSpec], str],
    recorded: set[str],
    stored: set[str],
    history: Iterable[Record] = (),
) -> Plan:
    """The jobs that a suite needs.

    Args:
        suite: Tasks, methods, metrics, seeds.
        options: Selection and places.
        fingerprint: Task -> hash of its dataset's files.
        recorded: Run keys that have a record.
        stored: Artefact keys in the store.
        history: Records whose costs serve as estimates.

    Raises:
        BenchmarkError: If a name is unknown, a parameter wrong, or nothing is selected.
    """
    plan = Plan(suite.name)
    tasks = _selected_tasks(suite, options)
    costs = _Costs(history)
    for metric in suite.metrics:
        registry.get("metric", metric)
    for task in tasks:
        methods = _methods_of(suite, task, options, plan)
        data = fingerprint(task)
        for seed in options.seeds or suite.seed_list(task):
            _plan_seed(plan, suite, task, methods, seed, data, options, recorded, stored, costs)
    return plan


def _plan_seed(
    plan: Plan,
    suite: Suite,
    task: TaskSpec,
    methods: list[tuple[str, dict[str, Any]]],
    seed: int,
    data: str,
    options: Options,
    recorded: set[str],
    stored: set[str],
    costs: "_Costs",
) -> None:
    """The jobs of one task and seed: shared models first, then a run for each method."""
    shared = shared_keys(task, seed, data, options.device)
    trained: dict[str, str] = {}
    for method, params in methods:
        keys = shared | run_keys(shared, task, method, params, options.device)
        key = record_key(keys, suite.metrics)
        if key in recorded and not options.fresh:
            plan.cached.add(key)
            continue
        common = {
            "run": RunSpec(task=task, method=method, params=params, seed=seed, metrics=suite.metrics).model_dump(),
            "suite": suite.name,
            "store": str(options.store),
            "results": str(options.results),
            "data": str(options.data),
            "plugins": registry.plugins(),
            "device": options.device,
            "threads": options.threads,
            "fresh": options.fresh,
        }
        for role in ("original", "retrained"):
            if role not in trained and (options.fresh or shared[f"{role}/outputs"] not in stored):
                trained[role] = shared[role]
                plan.jobs[shared[role]] = common | {
                    "key": shared[role], "kind": "train", "role": role, "needs": [], "keys": shared
                }  # fmt: skip
                costs.estimate(plan, shared[role], task, role)
        needs = [shared[role] for role in ("original", "retrained") if role in trained]
        plan.jobs[key] = common | {"key": key, "kind": "run", "role": method, "needs": needs, "keys": keys}
        costs.estimate(plan, key, task, method)


# -- keys --------------------------------------------------------------------------------------------------


def shared_keys(task: TaskSpec, seed: int, data: str, device: str) -> dict[str, str]:
    """Keys of what all methods of a task and seed share: decoded data, original, retrained, and their outputs."""
    dataset = canonical_hash(
        {
            "dataset": task.dataset.model_dump(),
            "files": data,
            "source": _source("dataset", task.dataset.name),
            "image_size": task.image_size,
        }
    )
    split = canonical_hash(
        {
            "dataset": dataset,
            "scenario": task.scenario.model_dump(),
            "source": [_source("scenario", task.scenario.name), _code(_DATA_CODE)],
            "files": _argument_file(task.scenario),
            "split": task.split.model_dump(),
            "label_noise": task.label_noise,
            "task": task.name,
            "seed": seed,
        }
    )
    keys = {"dataset": dataset}
    for role, sets in (("original", ["forget", "retain"]), ("retrained", ["retain"])):
        keys[role] = canonical_hash(
            {
                "split": split,
                "sets": sets,
                "learner": task.learner.model_dump(),
                "views": task.views,
                "recipe": task.recipe.model_dump(),
                "source": [_source("learner", task.learner.name), _code(_TRAINING_CODE)],
                "device": device.partition(":")[0],
            }
        )
        keys[f"{role}/outputs"] = outputs_key(keys[role], task)
    return keys


def run_keys(
    shared: Mapping[str, str], task: TaskSpec, method: str, params: Mapping[str, Any], device: str
) -> dict[str, str]:
    """Keys of an unlearned model and its outputs."""
    unlearned = canonical_hash(
        {
            "original": shared["original"],
            "method": method,
            "params": dict(params),
            "source": [_source("method", method), _code(_METHOD_CODE)],
            "device": device.partition(":")[0],
        }
    )
    return {"unlearned": unlearned, "unlearned/outputs": outputs_key(unlearned, task)}


def outputs_key(model: str, task: TaskSpec) -> str:
    """Key of what is observed of a model."""
    return canonical_hash(
        {"model": model, "evaluation": task.evaluation.model_dump(), "source": _code(_OBSERVING_CODE)}
    )


def record_key(keys: Mapping[str, str], metrics: Iterable[str]) -> str:
    """Key of a run: the outputs it is scored from, and the metrics that score them."""
    return canonical_hash(
        {
            "outputs": {role: keys[f"{role}/outputs"] for role in ("original", "retrained", "unlearned")},
            "metrics": {name: _source("metric", name) for name in sorted(metrics)},
            "source": _code(_SCORING_CODE),
        }
    )


def _source(kind: str, name: str) -> str:
    path = registry.source_path(kind, name.partition(":")[0])
    return registry.source_hash(path)


@cache
def _code(files: tuple[str, ...]) -> str:
    return registry.source_hash(*(ROOT / file for file in files))


def _argument_file(scenario: Ref) -> str | None:
    """Content of the file that a scenario names, if it names one."""
    path = Path(scenario.name.partition(":")[2] or str(scenario.params.get("path", "")))
    return canonical_hash(path.read_bytes().hex()) if path.is_file() else None


# -- what is selected --------------------------------------------------------------------------------------


def resolve_method(name: str, task: TaskSpec, suite_name: str) -> dict[str, Any]:
    """All hyper-parameters of a method on a task: its defaults, those of its preset, those of the suite.

    Raises:
        BenchmarkError: If a parameter is unknown or out of range.
    """
    base, _, preset = name.partition("[")
    component = registry.get("method", base)
    info: MethodInfo = component.info
    params: dict[str, Any] = {}
    if task.paradigm != "supervised":
        params |= info.contrastive
    params |= task.methods.get(base, {})
    if preset:
        params |= info.presets[preset.rstrip("]")]
    params |= task.methods.get(name, {}) if preset else {}
    method = build(component.target, params, f"suite {suite_name!r}, task {task.name!r}, method {name!r}")
    return dataclasses.asdict(method)


def applicability(name: str, task: TaskSpec) -> str | None:
    """Why a method is not applicable to a task; None if it is."""
    info: MethodInfo = registry.get("method", name.partition("[")[0]).info
    if task.paradigm not in info.paradigms:
        return f"not defined for {task.paradigm} learners"
    scenario = task.scenario.name.partition(":")[0]
    if info.scenarios is not None and scenario not in info.scenarios:
        return f"not defined for the scenario {scenario!r}"
    return None


def _selected_tasks(suite: Suite, options: Options) -> list[TaskSpec]:
    from fnmatch import fnmatchcase

    if not options.tasks:
        return suite.tasks
    known = [task.name for task in suite.tasks]
    for pattern in options.tasks:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UnknownName("task", pattern, known, f"suite {suite.name!r}")
    return [task for task in suite.tasks if any(fnmatchcase(task.name, p) for p in options.tasks)]


def _methods_of(suite: Suite, task: TaskSpec, options: Options, plan: Plan) -> list[tuple[str, dict[str, Any]]]:
    """(name, parameters) of the methods that apply to a task; the others are noted with the reason."""
    patterns = list(options.methods) or suite.methods
    names = list(dict.fromkeys(name for pattern in patterns for name in registry.match("method", pattern)))
    for name in task.methods:
        registry.match("method", name)
    chosen = []
    for name in names:
        reason = applicability(name, task)
        if reason is None:
            chosen.append((name, resolve_method(name, task, suite.name)))
        else:
            plan.not_applicable.append((task.name, name, reason))
    if not chosen and not plan.not_applicable:
        raise BenchmarkError(f"suite {suite.name!r}, task {task.name!r}: no method is selected.")
    return chosen


class _Costs:
    """Median seconds of earlier runs, by task and method."""

    def __init__(self, history: Iterable[Record]) -> None:
        seen: dict[tuple[str, str], list[float]] = {}
        for record in history:
            if record.cost is None:
                continue
            rest = record.cost.observe_seconds + record.cost.score_seconds
            for role, seconds in (
                (record.run.method, record.cost.unlearn_seconds),
                ("original", record.cost.train_seconds),
                ("retrained", record.cost.retrain_seconds),
            ):
                seen.setdefault((record.task, role), []).append(seconds + rest)
        self.medians = {what: median(seconds) for what, seconds in seen.items()}

    def estimate(self, plan: Plan, key: str, task: TaskSpec, role: str) -> None:
        """Note what a job will take, if it is known."""
        if (task.name, role) in self.medians:
            plan.estimates[key] = self.medians[(task.name, role)]
