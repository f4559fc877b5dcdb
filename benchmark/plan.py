"""A suite -> the graph of jobs with content keys: what there is to do, what is cached, what it will cost.

A key is the sha256 of canonical JSON of all that determines a result: data, split, learner, recipe, method with its
parameters, seed, numerics, and the source of the code that takes part. Who runs it, where and how often is not in it.
"""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import ROOT, registry
from benchmark.api import Method, MethodInfo
from benchmark.components import build, make
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.specs import Record, Ref, Suite, TaskSpec, canonical_hash

SUITES = ROOT / "suites"

# Files of ours that take part in a result beside the component's own; a test holds these lists against the imports.
_DATASET_CODE = ("data.py", "decoding.py")
_DATA_CODE = ("data.py",)
_TRAINING_CODE = ("training.py", "learners/base.py", "learners/encoders.py", "learners/factory.py", "learners/views.py")
_METHOD_CODE = ("input_gradients.py",)
_OBSERVING_CODE = ("observe.py", "metrics/_checks.py", "metrics/encoders.py")
_SCORING_CODE = (
    "scoring.py", "metrics/_checks.py", "metrics/attacks.py", "metrics/encoders.py", "metrics/signals.py"
)  # fmt: skip


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
    _source.cache_clear()
    place = f"suite {suite.name!r}"
    for metric in suite.metrics:
        registry.get("metric", metric, place)
    planner = _Planner(suite, options, recorded, stored)
    for task in _selected_tasks(suite, options, place):
        _check_components(task, f"{place}, task {task.name!r}")
        methods = _methods_of(suite, task, options, planner.plan)
        data = fingerprint(task)
        for seed in options.seeds or suite.seed_list(task):
            planner.add(task, seed, methods, data)
    plan = planner.plan
    if plan.jobs:
        plan.estimates = _estimates(plan.jobs, history)
    return plan


class _Planner:
    """Fills a plan, one task and seed at a time."""

    def __init__(self, suite: Suite, options: Options, recorded: set[str], stored: set[str]) -> None:
        self.plan = Plan(suite.name)
        self._metrics, self._recorded, self._stored = suite.metrics, recorded, stored
        self._device, self._fresh = options.device, options.fresh
        self._common = {
            "suite": suite.name,
            "store": str(options.store),
            "results": str(options.results),
            "data": str(options.data),
            "plugins": registry.plugins(),
            "device": options.device,
            "threads": options.threads,
            "fresh": options.fresh,
        }

    def add(self, task: TaskSpec, seed: int, methods: list[tuple[str, dict[str, Any]]], data: str) -> None:
        """A run for each method without a record, after the shared models that they need."""
        shared = shared_keys(task, seed, data, self._device)
        words = {"task": task.model_dump(), "seed": seed, "metrics": self._metrics}
        runs: dict[str, dict[str, Any]] = {}
        for method, params in methods:
            keys = shared | run_keys(shared, task, method, params, self._device)
            key = record_key(keys, self._metrics)
            if key in self._recorded and key in self._stored and not self._fresh:
                self.plan.cached.add(key)
            else:
                run = {**words, "method": method, "params": params}
                runs[key] = self._common | {"key": key, "kind": "run", "role": method, "run": run, "keys": keys}
        if not runs:
            return
        missing = [r for r in ("original", "retrained") if self._fresh or shared[f"{r}/outputs"] not in self._stored]
        first = next(iter(runs.values()))  # of its run, training reads the task and the seed alone
        for role in missing:
            trains = {"key": shared[role], "kind": "train", "role": role, "keys": shared, "needs": []}
            self.plan.jobs[shared[role]] = first | trains
        for key, job in runs.items():
            self.plan.jobs[key] = job | {"needs": [shared[role] for role in missing]}


# -- keys --------------------------------------------------------------------------------------------------


def shared_keys(task: TaskSpec, seed: int, data: str, device: str) -> dict[str, str]:
    """Keys of what all methods of a task and seed share: decoded data, original, retrained, and their outputs."""
    dataset = canonical_hash(
        {
            "dataset": task.dataset.model_dump(),
            "files": data,
            "source": [_source("dataset", task.dataset.name), _code(_DATASET_CODE)],
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


@cache
def _source(kind: str, name: str) -> str:
    """Of a component's file; read once for each plan."""
    path = registry.source_path(kind, name.partition(":")[0])
    return registry.source_hash(path)


@cache
def _code(files: tuple[str, ...]) -> str:
    return registry.source_hash(*(ROOT / file for file in files))


def _argument_file(scenario: Ref) -> str | None:
    """Content of the file that a scenario names by its field `path`, if it has one."""
    path = getattr(make("scenario", scenario, "scenario"), "path", None)
    return canonical_hash(Path(path).read_bytes().hex()) if path and Path(path).is_file() else None


# -- what is selected --------------------------------------------------------------------------------------


def build_method(name: str, task: TaskSpec, place: str) -> Method:
    """A method with the hyper-parameters of a task: its defaults, those of its preset, those of the suite.

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
        params |= task.methods.get(name, {})
    method: Method = build(component.target, params, f"{place}, task {task.name!r}, method {name!r}")
    return method


def resolve_method(name: str, task: TaskSpec, suite_name: str) -> dict[str, Any]:
    """The same as a dictionary of all hyper-parameters."""
    method: Any = build_method(name, task, f"suite {suite_name!r}")
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}


def applicability(name: str, task: TaskSpec, place: str = "") -> str | None:
    """Why a method is not applicable to a task; None if it is."""
    info: MethodInfo = registry.get("method", name.partition("[")[0]).info
    if task.paradigm not in info.paradigms:
        return f"not defined for {task.paradigm} learners"
    scenario = task.scenario.name.partition(":")[0]
    if info.scenarios is not None and scenario not in info.scenarios:
        return f"not defined for the scenario {scenario!r}"
    return build_method(name, task, place).refuses(task.paradigm)


def _selected_tasks(suite: Suite, options: Options, place: str) -> list[TaskSpec]:
    known = [task.name for task in suite.tasks]
    for pattern in options.tasks:
        if not fnmatch.filter(known, pattern):
            raise UnknownName("task", pattern, known, place)
    patterns = options.tasks or ("*",)
    return [task for task in suite.tasks if any(fnmatch.fnmatchcase(task.name, pattern) for pattern in patterns)]


def _check_components(task: TaskSpec, place: str) -> None:
    """Raise BenchmarkError if the task names what is not there, or sets what cannot be set."""
    make("dataset", task.dataset, place)
    make("scenario", task.scenario, place)
    if task.learner.name not in registry.names("learner"):
        raise UnknownName("learner", task.learner.name, registry.names("learner"), place)
    known = registry.names("method")
    for name in task.methods:
        if name not in known:
            raise UnknownName("method", name, known, place)


def _methods_of(suite: Suite, task: TaskSpec, options: Options, plan: Plan) -> list[tuple[str, dict[str, Any]]]:
    """(name, parameters) of the methods that apply to a task; the others are noted with the reason."""
    patterns = options.methods or suite.methods
    place = "--method" if options.methods else f"suite {suite.name!r}"
    chosen = []
    for name in dict.fromkeys(name for pattern in patterns for name in registry.match("method", pattern, place)):
        try:
            registry.get("method", name.partition("[")[0])
        except BenchmarkError as error:  # its file cannot be imported, which matters to those who ask for it
            if name in patterns:
                raise
            plan.not_applicable.append((task.name, name, str(error)))
            continue
        reason = applicability(name, task, f"suite {suite.name!r}")
        if reason is None:
            chosen.append((name, resolve_method(name, task, suite.name)))
        else:
            plan.not_applicable.append((task.name, name, reason))
    return chosen


def _estimates(jobs: Mapping[str, Mapping[str, Any]], history: Iterable[Record]) -> dict[str, float]:
    """Job key -> median seconds of earlier runs of the same task and role."""
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
    medians = {what: median(seconds) for what, seconds in seen.items()}
    roles = {key: (job["run"]["task"]["name"], job["role"]) for key, job in jobs.items()}
    return {key: medians[what] for key, what in roles.items() if what in medians}
