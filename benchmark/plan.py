"""A suite -> the graph of jobs with content keys: what there is to do, what is cached, what it will cost."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, get_args

from benchmark import ROOT, keys, registry
from benchmark.api import ARTEFACTS, Method, MethodInfo, MetricInfo
from benchmark.components import build, make
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.places import Location
from benchmark.specs import ENSEMBLE, LEAST_ENSEMBLE, Record, Suite, TaskSpec, Tier, canonical_hash

SUITES = ROOT / "suites"

TIERS = get_args(Tier)


@dataclass(frozen=True)
class Options:
    """What a command adds to a suite: where things lie and what is selected."""

    store: Location
    results: Location
    data: Path
    device: str = "cpu"
    threads: int = 1
    fresh: bool = False
    flops: bool = False
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is there already: keys of runs and populations that have a record, and of artefacts in the store."""

    recorded: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Measures:
    """The metrics that were asked for, by what they read: single runs, all seeds of a task, ensembles."""

    of_runs: tuple[str, ...] = ()
    of_seeds: tuple[str, ...] = ()
    of_ensembles: tuple[str, ...] = ()


@dataclass
class Plan:
    """The jobs of a suite in an order that respects what they need.

    Attributes:
        suite: Its name.
        jobs: Job key -> JSON.
        cached: Runs that have a record already.
        cached_populations: The same of populations.
        not_applicable: (task, method, why).
        estimates: Job key -> expected seconds, where earlier records tell.
        time_limit: Seconds that the suite gives a job, if it says so.
        exclusive: Whether the suite wants runs to have the machine to themselves.
        groups: (task, seed), which share an original and a retrained model -> keys of all its runs, cached or not.
        shard: "0/2" for the first of two shards, "" for a whole plan.
        notes: Sentences on what is left out.
    """

    suite: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    cached_populations: set[str] = field(default_factory=set)
    not_applicable: list[tuple[str, str, str]] = field(default_factory=list)
    estimates: dict[str, float] = field(default_factory=dict)
    time_limit: float | None = None
    exclusive: bool = False
    groups: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    shard: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """Runs to do, those that are only scored again among them."""
        return sum(len(job["batch"]) if job["kind"] == "score" else job["kind"] == "run" for job in self.jobs.values())

    @property
    def trainings(self) -> int:
        """Original and retrained models to train."""
        return sum(job["kind"] == "train" for job in self.jobs.values())

    def only_scoring(self) -> "Plan":
        """The jobs that need no model: runs whose outputs are stored, and populations of such runs."""
        jobs: dict[str, dict[str, Any]] = {}
        for key, job in self.jobs.items():  # what is needed stands before what needs it
            if job["kind"] in ("score", "population") and all(need in jobs for need in job["needs"]):
                jobs[key] = job
        return replace(self, jobs=jobs, estimates={})

    def seconds(self) -> float | None:
        """Expected seconds of work on one core; None if nothing is known yet."""
        long = [key for key, job in self.jobs.items() if job["kind"] in ("train", "run")]
        known = [self.estimates[key] for key in long if key in self.estimates]
        return sum(known) * len(long) / len(known) if known else None


def make_plan(
    suite: Suite,
    options: Options,
    fingerprint: Callable[[TaskSpec], str],
    known: Known,
    history: Iterable[Record] = (),
) -> Plan:
    """The jobs that a suite needs.

    Args:
        suite: Tasks, methods, metrics, seeds.
        options: Selection and places.
        fingerprint: Task -> hash of its dataset's files.
        known: What is recorded and stored.
        history: Records whose costs serve as estimates.

    Raises:
        BenchmarkError: If a name is unknown, a parameter wrong, or nothing is selected.
    """
    keys.forget_sources()
    place = f"suite {suite.name!r}"
    measures = chosen_metrics(options.metrics or suite.metrics, "--metrics" if options.metrics else place)
    planner = _Planner(suite.name, options, known)
    tasks = _selected_tasks(suite, options, place)
    if options.metrics and measures.of_ensembles and not any(task.ensemble for task in tasks):
        raise BenchmarkError(f"{place}: none of the chosen tasks asks for an ensemble; give one `ensemble = 64`.")
    for task in tasks:
        _check_components(task, f"{place}, task {task.name!r}")
        methods, refused = _methods_of(suite, task, options)
        planner.plan.not_applicable += refused
        data = fingerprint(task)
        for variant, seeds, measured in _variants(suite, task, options, measures):
            fitting = _methods_of(suite, variant, options)[0] if variant.in_shards else methods
            if variant is task or not variant.in_shards or any(_reads_artefacts(name) for name, _ in fitting):
                planner.add(variant, seeds, fitting, data, measured)
    plan = replace(planner.plan, time_limit=suite.time_limit, exclusive=suite.exclusive)
    if plan.jobs:
        plan.estimates = _estimates(plan.jobs, history)
    return plan


def _variants(
    suite: Suite, task: TaskSpec, options: Options, measures: Measures
) -> Iterator[tuple[TaskSpec, Sequence[int], Measures]]:
    """A task as it stands, in shards and as an ensemble if it asks for them; each with seeds and metrics."""
    if measures.of_runs or measures.of_seeds:
        yield task, options.seeds or suite.seed_list(task), measures
        if task.shards is not None and not task.in_shards:
            yield task.as_sharded(), options.seeds or suite.seed_list(task), measures
    if task.ensemble and any(task.paradigm in _metric_info(name).paradigms for name in measures.of_ensembles):
        models = len(options.seeds) or task.ensemble
        if models < LEAST_ENSEMBLE or models % 2:
            raise BenchmarkError(
                f"task {task.name!r}: an ensemble has an even number of models from {LEAST_ENSEMBLE} on, not {models}."
            )
        always = chosen_metrics(["every_run"], "")  # beside them an ensemble's numbers are read
        runs, seeds = measures.of_runs or always.of_runs, measures.of_seeds or always.of_seeds
        yield task.as_ensemble(models), range(models), Measures(runs, (*seeds, *measures.of_ensembles))


class _Planner:
    """Fills a plan, one task at a time."""

    def __init__(self, suite: str, options: Options, known: Known) -> None:
        self.plan = Plan(suite)
        self._known, self._device, self._fresh, self._flops = known, options.device, options.fresh, options.flops
        self._job_of: dict[str, str] = {}  # run key -> the job that does it
        self._common = {
            "suite": suite,
            "store": str(options.store),
            "results": str(options.results),
            "data": str(options.data),
            "plugins": registry.plugins(),
            "device": options.device,
            "threads": options.threads,
            "fresh": options.fresh,
        }

    def add(
        self, task: TaskSpec, seeds: Sequence[int], methods: list[tuple[str, dict[str, Any]]], data: str, ask: Measures
    ) -> None:
        """For each seed the shared models and the runs that are missing; for each method what all seeds say."""
        seeds = sorted(seeds)
        metrics = _defined_for(task, ask.of_runs, seeds)
        together = _defined_for(task, ask.of_seeds, seeds) if len(seeds) > 1 else {}
        if not metrics and not together:
            return
        if not metrics:  # a record without numbers would stand before the one that has them
            metrics = _defined_for(task, chosen_metrics(["every_run"], "").of_runs, seeds)
        members: dict[str, list[dict[str, str]]] = {name: [] for name, _ in methods}
        arms = list(_arms(task, methods))
        for seed in seeds:
            for method, own in self._seed(
                task, seed, arms, data, metrics, counts=self._flops and seed == seeds[0]
            ).items():
                members[method].append(own)
        if together:
            for method, params in methods:
                self._population(task, seeds, method, params, together, members[method])

    def _seed(
        self, task: TaskSpec, seed: int, arms: list[tuple[str, dict[str, Any], bool]], data: str,
        metrics: dict[str, str], counts: bool,
    ) -> dict[str, dict[str, str]]:  # fmt: skip
        """Plan one seed; method -> keys of its run, its models and their outputs."""
        relearns = any(_metric_info(name).needs == "relearning" for name in metrics)
        shared = keys.shared_keys(task, seed, data, self._device, relearns)
        words = {"task": task.model_dump(), "seed": seed, "metrics": list(metrics)}
        found: dict[str, dict[str, str]] = {}
        runs: dict[str, dict[str, Any]] = {}
        for method, params, placebo in arms:
            own = shared | keys.run_keys(shared, task, method, params, self._device, placebo)
            key = keys.record_key(own, metrics)
            self.plan.groups.setdefault((task.name, seed), set()).add(key)
            if not placebo:
                found[method] = own | {"run": key}
            if self._is_known(key):
                self.plan.cached.add(key)
                continue
            run = {**words, "method": method, "params": params, "placebo": placebo}
            role = f"{method} (placebo arm)" if placebo else method
            job = {"key": key, "kind": "run", "role": role, "run": run, "keys": own}
            runs[key] = self._common | job | {"sources": metrics, "counts_flops": counts}
        if not runs:
            return found
        first = next(iter(runs.values()))  # of its run, training reads the task and the seed alone
        missing = [role for role in ("original", "retrained") if not self._is_observed(role, shared)]
        for role in missing:
            parts = [name for name in shared if name.startswith(f"{role}.") and not self._is_stored(shared[name])]
            for name in parts:
                self._train(first, name, shared, [])
            self._train(first, role, shared, parts)
        scored = [key for key, job in runs.items() if not missing and self._is_observed("unlearned", job["keys"])]
        if scored:
            self._score([runs.pop(key) for key in scored])
        for key, job in runs.items():
            self.plan.jobs[key] = job | {"needs": [shared[role] for role in missing]}
        return found

    def _train(self, first: dict[str, Any], role: str, shared: dict[str, str], parts: list[str]) -> None:
        """The job of a shared model, or of one of the shards that it is put together from."""
        needs = [shared[name] for name in parts]
        what = {"key": shared[role], "kind": "train", "role": role, "keys": shared, "needs": needs}
        self.plan.jobs[shared[role]] = first | what

    def _score(self, jobs: list[dict[str, Any]]) -> None:
        """One job for the runs of a seed whose outputs are there."""
        key = canonical_hash([job["key"] for job in jobs])
        batch = [{name: job[name] for name in ("key", "role", "run", "keys")} for job in jobs]
        role = jobs[0]["role"] if len(jobs) == 1 else f"{len(jobs)} methods"
        what = {"key": key, "kind": "score", "role": role, "batch": batch, "needs": []}
        self.plan.jobs[key] = jobs[0] | what
        self._job_of |= dict.fromkeys((job["key"] for job in jobs), key)

    def _population(
        self, task: TaskSpec, seeds: Sequence[int], method: str, params: dict[str, Any], metrics: dict[str, str],
        members: list[dict[str, str]],
    ) -> None:  # fmt: skip
        key = keys.population_key(members, metrics)
        jobs = dict.fromkeys(self._job_of.get(own["run"], own["run"]) for own in members)
        needs = [job for job in jobs if job in self.plan.jobs]
        made_again = any(self.plan.jobs[need]["kind"] == "run" for need in needs)
        if self._is_known(key) and not made_again:
            self.plan.cached_populations.add(key)
            return
        run = {"task": task.model_dump(), "seed": seeds[0], "metrics": list(metrics), "method": method}
        self.plan.jobs[key] = self._common | {
            "key": key,
            "kind": "population",
            "role": method,
            "run": run | {"params": params},
            "keys": {},
            "sources": metrics,
            "seeds": list(seeds),
            "members": members,
            "needs": needs,
        }

    def _is_known(self, key: str) -> bool:
        return key in self._known.recorded and key in self._known.stored and not self._fresh

    def _is_observed(self, role: str, own: Mapping[str, str]) -> bool:
        """Whether all that metrics read of a model is stored."""
        return all(self._is_stored(key) for name, key in own.items() if name.startswith(f"{role}/"))

    def _is_stored(self, key: str) -> bool:
        return key in self._known.stored and not self._fresh


def _arms(task: TaskSpec, methods: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(method, parameters, placebo?): where the task asks for it, methods that read forget data run twice."""
    for method, params in methods:
        yield method, params, False
        if task.split.placebo:
            target = registry.get("method", method.partition("[")[0]).target
            if "forget" in build(target, params, f"method {method!r}").reads():
                yield method, params, True


def _metric_info(name: str) -> MetricInfo:
    info: MetricInfo = registry.get("metric", name).info
    return info


def _defined_for(task: TaskSpec, metrics: Iterable[str], seeds: Sequence[int]) -> dict[str, str]:
    """Those metrics that a task's paradigm and seeds allow -> the hash of their source."""
    needs = {"run", "relearning", "seeds"}
    if task.split.pairs and all(seed ^ 1 in seeds for seed in seeds):
        needs |= {"pairs"} if task.split.seed is None else {"pairs", "ensemble"}
    infos = [_metric_info(name) for name in metrics]
    fitting = [info.name for info in infos if task.paradigm in info.paradigms and info.needs in needs]
    return {name: keys.source("metric", name) for name in fitting}


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
    if ARTEFACTS in info.uses and not task.in_shards:
        where = "the task asks for no `shards`" if task.shards is None else f"see {task.as_sharded().name}"
        return f"reads what training in shards leaves; {where}"
    if task.in_shards and info.uses and ARTEFACTS not in info.uses:
        return "not defined for models that were trained in shards"
    scenario = task.scenario.name.partition(":")[0]
    scenarios = info.scenarios_of(name)
    if scenarios is not None and scenario not in scenarios:
        return f"not defined for the scenario {scenario!r}"
    return build_method(name, task, place).refuses(task.paradigm)


def chosen_metrics(names: Iterable[str], place: str) -> Measures:
    """Names of metrics and tiers -> metrics, by what they read.

    Raises:
        UnknownName: If a name is neither a metric's nor a tier's.
    """
    known = registry.names("metric")
    for name in names:
        if name not in (*known, *TIERS):
            raise UnknownName("metric or tier", name, [*TIERS, *known], place)
    infos = [_metric_info(name) for name in known if {name, _metric_info(name).tier} & set(names)]

    def reading(*needs: str) -> tuple[str, ...]:
        return tuple(info.name for info in infos if info.needs in needs)

    return Measures(reading("run", "relearning"), reading("seeds", "pairs"), reading("ensemble"))


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


def _reads_artefacts(name: str) -> bool:
    return ARTEFACTS in registry.get("method", name.partition("[")[0]).info.uses


def _methods_of(
    suite: Suite, task: TaskSpec, options: Options
) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[str, str, str]]]:
    """(name, parameters) of the methods that apply to a task; (task, name, reason) of the others."""
    patterns = options.methods or suite.methods
    place = "--method" if options.methods else f"suite {suite.name!r}"
    chosen, refused = [], []
    for name in dict.fromkeys(name for pattern in patterns for name in _covered(pattern, suite, place)):
        try:
            registry.get("method", name.partition("[")[0])
        except BenchmarkError as error:  # its file cannot be imported, which matters to those who ask for it
            if name in patterns:
                raise
            refused.append((task.name, name, str(error)))
            continue
        reason = applicability(name, task, f"suite {suite.name!r}")
        if reason is None:
            chosen.append((name, resolve_method(name, task, suite.name)))
        else:
            refused.append((task.name, name, reason))
    return chosen, refused


def _covered(pattern: str, suite: Suite, place: str) -> Iterator[str]:
    """The methods that a pattern covers, those presets among them that the suite names."""
    yield from registry.match("method", pattern, place)
    presets = (name for name in suite.methods if name in registry.names("method"))
    yield from (name for name in presets if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")))


def _estimates(jobs: Mapping[str, Mapping[str, Any]], history: Iterable[Record]) -> dict[str, float]:
    """Job key -> median seconds of earlier runs of the same task and role on the same kind of device."""
    seen: dict[tuple[str, str, str], list[float]] = {}
    for record in history:
        if record.cost is None:
            continue
        rest = record.cost.observe_seconds + record.cost.score_seconds
        method = f"{record.run.method} (placebo arm)" if record.run.placebo else record.run.method
        for role, seconds in (
            (method, record.cost.unlearn_seconds),
            ("original", record.cost.train_seconds),
            ("retrained", record.cost.retrain_seconds),
        ):
            seen.setdefault((record.task, role, _kind(record.cost.device)), []).append(seconds + rest)
    medians = {what: median(seconds) for what, seconds in seen.items()}
    found = {}
    for key, job in jobs.items():
        task = job["run"]["task"]["name"]  # an ensemble's models cost what its task's do
        alike = [(name, job["role"], _kind(job["device"])) for name in (task, task.partition(ENSEMBLE)[0])]
        known = [medians[what] for what in alike if what in medians]
        if known and job["kind"] in ("train", "run"):
            found[key] = known[0]
    return found


def _kind(device: str) -> str:
    """`cuda` for `cuda:1`."""
    return device.partition(":")[0]
