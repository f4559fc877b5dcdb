"""One command's work: options -> plan -> run -> report. What the command line and scripts call."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark import registry
from benchmark.api import Executor
from benchmark.components import make
from benchmark.display import choose, in_time
from benchmark.errors import BenchmarkError, PlaceError
from benchmark.parts import parse_shard, split
from benchmark.places import Folder, Location, absolute, place_of
from benchmark.plan import SUITES, Known, Options, Plan, make_plan
from benchmark.report import Report, build_report, figures_are_outdated
from benchmark.runner import Limits, Summary, execute
from benchmark.since import touched
from benchmark.specs import TaskSpec, load_suite
from benchmark.store import PopulationRecords, Records, Store


@dataclass(frozen=True)
class Machine:
    """Where a command's jobs run, and what each may take.

    Attributes:
        executor: By name.
        jobs: At once.
        timeout: Seconds for a job; unless said, the suite's limit or what its estimate allows.
        memory: Gigabytes for a job; none unless said, for a share of what there is would end honest jobs that are large
            while their neighbours are small.
        gpus_per_job: A part of one if below 1. One unless said, on `--device cuda`.
        address: Of a cluster, for an executor that knows of clusters.
    """

    executor: str = "local"
    jobs: int = 1
    timeout: float | None = None
    memory: float | None = None
    gpus_per_job: float | None = None
    address: str | None = None

    def start(self, device: str) -> Executor:
        """The executor, which gets its workers ready.

        Raises:
            BenchmarkError: If there is no such executor, no such cluster, or no such GPUs.
        """
        executor = registry.get("executor", self.executor).target
        cluster = {} if self.address is None else {"address": self.address}
        if not cluster.keys() <= inspect.signature(executor).parameters.keys():
            raise BenchmarkError(f"--address: the executor {self.executor!r} knows no clusters; give --executor ray.")
        made: Executor = executor(workers=self.jobs, gpus_per_job=self._gpus(device), **cluster)
        return made

    def _gpus(self, device: str) -> float | None:
        if self.gpus_per_job is not None and device != "cuda":
            raise BenchmarkError(f"--gpus-per-job goes with --device cuda, which means any GPU, not with {device}.")
        return 1.0 if device == "cuda" and self.gpus_per_job is None else self.gpus_per_job


def options(
    store: Location, results: Location, data: Path, device: str, fresh: bool, flops: bool = False,
    elsewhere: bool = False,
) -> Options:  # fmt: skip
    """Options with absolute paths, the device checked unless jobs run elsewhere.

    Raises:
        BenchmarkError: If there is no such device.
    """
    if device != "cpu" and not elsewhere:
        _check_device(device)
    return Options(absolute(store), absolute(results), data.resolve(), device, fresh=fresh, flops=flops)


def plan(
    suite_name: str,
    where: Options,
    tasks: Sequence[str] | None,
    methods: Sequence[str] | None,
    seeds: int | None,
    metrics: Sequence[str] | None,
    plugins: Sequence[Path] | None,
    shard: str | None = None,
) -> Plan:
    """What a suite still needs; of it one shard's part, if one is given ("0/2").

    Raises:
        BenchmarkError: For every mistake in names, parameters, files or folders.
    """
    part = None if shard is None else parse_shard(shard)
    selection = _selection(where, tasks, methods, seeds, metrics, plugins)
    suite = load_suite(suite_name, SUITES)
    store, records, populations = Store(where.store), Records(where.results), PopulationRecords(where.results)
    store.check_writable()
    known = Known(records.keys() | populations.keys(), store.keys())
    work = make_plan(suite, selection, lambda task: _fingerprint(task, where), known, records.read())
    return work if part is None else split(work, *part)


def since(
    suite_name: str,
    where: Options,
    rev: str,
    tasks: Sequence[str] | None,
    methods: Sequence[str] | None,
    seeds: int | None,
    metrics: Sequence[str] | None,
    plugins: Sequence[Path] | None,
) -> dict[str, Any]:
    """What of a suite is computed again since a revision, and why.

    Raises:
        BenchmarkError: For every mistake in names, parameters, files or folders, and for unknown revisions.
    """
    selection = _selection(where, tasks, methods, seeds, metrics, plugins)
    return touched(load_suite(suite_name, SUITES), suite_name, selection, lambda task: _fingerprint(task, where), rev)


def _selection(
    where: Options,
    tasks: Sequence[str] | None,
    methods: Sequence[str] | None,
    seeds: int | None,
    metrics: Sequence[str] | None,
    plugins: Sequence[Path] | None,
) -> Options:
    """Options with what is selected; plug-ins are known from now on."""
    for plugin in plugins or ():
        registry.add_plugin(plugin)
    return replace(
        where,
        tasks=tuple(tasks or ()),
        methods=tuple(methods or ()),
        seeds=tuple(range(seeds or 0)),
        metrics=tuple(metrics or ()),
    )


def rehearse(work: Plan, where: Options) -> None:
    """Split the data and build the learner of each task that has work: a mistake in them stops nothing halfway.

    Raises:
        BenchmarkError: If the forget set is empty or everything, images do not suffice, or a parameter is wrong.
    """
    long = [job for job in work.jobs.values() if job["kind"] in ("train", "run")]
    if not long:
        return
    from benchmark.data import DataCache
    from benchmark.learners.factory import build_learner
    from benchmark.models import load_task

    for job in {job["run"]["task"]["name"]: job for job in reversed(long)}.values():
        task = TaskSpec.model_validate(job["run"]["task"])
        info = registry.get("dataset", task.dataset.name.partition(":")[0]).info
        try:
            cache = DataCache(Store(where.store).folder / "datasets")
            images = load_task(task, job["run"]["seed"], where.data, cache, job["keys"]["dataset"])["retain"]
            build_learner(task.learner, task.views, info, images.images.shape[1], len(images.classes), seed=0)
        except PlaceError:
            raise
        except (BenchmarkError, TypeError, ValueError) as error:
            raise BenchmarkError(f"suite {work.suite!r}, task {task.name!r}: {error}") from error


def score(work: Plan) -> tuple[Plan, list[str]]:
    """What of a plan needs no model, and sentences on the rest."""
    scoring = work.only_scoring()
    missing = work.runs - scoring.runs
    return scoring, [f"{missing} runs have no stored outputs; `run` makes them."] if missing else []


def run(work: Plan, where: Options, machine: Machine, console: Console, quiet: bool) -> "Outcome":
    """Run a plan and build the report.

    Raises:
        BenchmarkError: If there is no such executor, the results cannot be written, or a task cannot be made.
    """
    registry.get("executor", machine.executor)
    Records(where.results).check_writable()
    for place in map(place_of, (where.store, where.results)):
        if isinstance(place, Folder):
            place.remove_leftovers()
    summary = Summary(workers=machine.jobs)
    if work.jobs:
        executor = machine.start(where.device)  # its workers get ready while the tasks are rehearsed
        try:
            rehearse(work, where)
        except BaseException:
            executor.cancel()
            raise
        if not quiet:
            console.print(cost_in_words(plan_as_json(work, executor.workers)), highlight=False, soft_wrap=True)
        limits = Limits(machine.timeout, None if machine.memory is None else machine.memory * 1e9)
        summary = execute(work, executor, executor.workers, choose(console, quiet), limits, _record_failure)
    summary.failed += _failed_before(work, Store(where.store))
    summary.notes += [*work.notes, *_left_out()]
    if work.shard or not Records(where.results).keys():  # shards that end together would write the same tables
        return Outcome(summary, work, None)
    return Outcome(summary, work, build_report(where.results, draw=figures_are_outdated(where.results)))


@dataclass(frozen=True)
class Outcome:
    """What `run` has to say at its end."""

    summary: Summary
    plan: Plan
    report: Report | None

    @property
    def failed(self) -> bool:
        return bool(self.summary.failed)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "jobs_done": self.summary.done,
            "runs_cached": len(self.plan.cached),
            "failed": [{"job": job, "error": error} for job, error in self.summary.failed],
            "seconds": self.summary.seconds,
            "work_seconds": self.summary.work_seconds,
            "harness_share": self.summary.harness_share,
            "notes": self.summary.notes,
        }

    def show(self, console: Console) -> None:
        """Tables, then what was done, then what went wrong."""
        if self.report is not None:
            self.report.show(console)
        for note in self.summary.notes:
            console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
        done = f"{self.summary.done} jobs done in {in_time(self.summary.seconds)}, {len(self.plan.cached)} runs cached"
        if self.summary.done:
            done += f"; harness {100 * self.summary.harness_share:.1f} % of {self.summary.workers} workers' time"
        console.print(done + ".", highlight=False, soft_wrap=True)
        for job, error in self.summary.failed:
            reason = error.strip().splitlines()[-1]
            console.print(f"failed: {job}: {reason}", markup=False, highlight=False, soft_wrap=True)


def plan_as_json(work: Plan, workers: int) -> dict[str, Any]:
    """A plan in numbers."""
    seconds = work.seconds()
    return {
        "suite": work.suite,
        "shard": work.shard or None,
        "models_to_train": work.trainings,
        "runs_to_do": work.runs,
        "runs_cached": len(work.cached),
        "populations_cached": len(work.cached_populations),
        "estimated_seconds": None if seconds is None else seconds / workers,
        "workers": workers,
        "jobs": [
            {
                "task": job["run"]["task"]["name"],
                "seed": job["run"]["seed"],
                "kind": job["kind"],
                "role": job["role"],
                "estimated_seconds": work.estimates.get(key),
            }
            for key, job in work.jobs.items()
        ],
        "not_applicable": [{"task": t, "method": m, "why": why} for t, m, why in work.not_applicable],
        "notes": [*work.notes, *_left_out()],
    }


def cost_in_words(content: dict[str, Any]) -> str:
    """What there is to do, and how long it will take."""
    seconds = content["estimated_seconds"]
    models = any(job["kind"] in ("train", "run") for job in content["jobs"])
    unknown = "unknown, nothing like it was run yet" if models else "unknown, but no model is needed"
    cost = unknown if seconds is None else f"about {in_time(seconds)}"
    shard = f", shard {content['shard']}" if content["shard"] else ""
    return (
        f"suite {content['suite']}{shard}: {content['runs_to_do']} runs to do, {content['runs_cached']} cached; "
        f"{content['models_to_train']} original and retrained models to train first.\n"
        + (f"time with {content['workers']} workers: {cost}." if content["jobs"] else "nothing to do.")
    )


def plan_in_words(content: dict[str, Any]) -> str:
    """The same for people, with each kind of job."""
    lines = [cost_in_words(content)]
    counts: dict[tuple[str, str], int] = {}
    for job in content["jobs"]:
        words = {"score": "scoring of ", "population": "all seeds of "}
        role = f"{words.get(job['kind'], '')}{job['role']}"
        counts[(job["task"], role)] = counts.get((job["task"], role), 0) + 1
    lines += [f"  {task}: {role} x {count}" for (task, role), count in counts.items()]
    lines += [f"  {row['task']}: {row['method']} is not applicable: {row['why']}" for row in content["not_applicable"]]
    return "\n".join([*lines, *(f"note: {note}" for note in content["notes"])])


def _record_failure(job: dict[str, Any], error: str) -> str:
    from benchmark.jobs import record_failure

    return record_failure(job, error)


def _failed_before(work: Plan, store: Store) -> list[tuple[str, str]]:
    """Cached runs whose record is one of a failure: a method that raises would only raise again."""
    found = ((key, store.meta(key) or {}) for key in sorted(work.cached | work.cached_populations))
    return [
        (str(meta.get("what", key)), "failed in an earlier run; its record says why, --fresh runs it again")
        for key, meta in found
        if meta.get("status") == "failed"
    ]


def _left_out() -> list[str]:
    return [f"{place} is left out ({reason})." for place, reason in registry.unavailable().items()]


def _fingerprint(task: TaskSpec, where: Options) -> str:
    from benchmark.data import DataCache

    dataset = make("dataset", task.dataset, f"task {task.name!r}")
    return DataCache(Store(where.store).folder / "datasets").fingerprint(dataset.files(where.data))


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BenchmarkError(f"--device {device}: {reason}. Known here: cpu{_gpus()}.") from error


def _gpus() -> str:
    import torch

    return "".join(f", cuda:{i}" for i in range(torch.cuda.device_count()))
