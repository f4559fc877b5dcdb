"""The commands. No logic: each gathers its options, calls one function, prints what comes back.

Exit codes: 0 all ran, 1 some run or check failed, 2 the command was wrong, 130 it was interrupted.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmark import __version__, cli_history, registry
from benchmark.errors import BenchmarkError
from benchmark.places import cache_folder as _cache
from benchmark.specs import suite_names

app = typer.Typer(
    name="benchmark",
    help="Reference benchmark for machine unlearning of image models. Start with: python -m benchmark run --all",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cli_history.add(app)


def main() -> None:
    """Entry point: our own errors become one sentence and exit code 2."""
    try:
        app()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _complete_methods(incomplete: str) -> list[str]:
    return [name for name in registry.names("method") if name.startswith(incomplete)]


def _complete_suites(incomplete: str) -> list[str]:
    from benchmark.plan import SUITES

    return [name for name in suite_names(SUITES) if name.startswith(incomplete)]


SuiteOption = Annotated[
    str, typer.Option("--suite", help="A suite's name or TOML file.", autocompletion=_complete_suites)
]
TaskOption = Annotated[list[str] | None, typer.Option("--task", help="Only these tasks; wildcards allowed.")]
MethodOption = Annotated[
    list[str] | None,
    typer.Option("--method", help="Only these methods; wildcards allowed.", autocompletion=_complete_methods),
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds 0 to N-1 instead of the suite's.")]
MetricsOption = Annotated[
    list[str] | None,
    typer.Option("--metrics", help="Metrics or tiers (every_run, population, probing, legacy) instead of the suite's."),
]
StoreOption = Annotated[str | None, typer.Option("--store", help="Folder or URL of trained models and outputs.")]
ResultsOption = Annotated[str, typer.Option("--results", help="Folder or URL of records, tables and figures.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder that datasets lie in or are fetched to.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
PluginOption = Annotated[list[Path] | None, typer.Option("--plugin", help="A Python file with components of yours.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Compute again whatever is cached.")]
ShardOption = Annotated[
    str | None, typer.Option("--shard", help="Only part I of N, counted from 0: 0/4 to 3/4, for job arrays.")
]
CORES = os.cpu_count() or 1
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Jobs at once; one core each.")]
ExecutorOption = Annotated[str, typer.Option("--executor", help="local, ray or serial.")]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Of a Ray cluster for --executor ray: auto, or HOST:PORT of its head.")
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", min=1, help="Seconds for a job instead of the suite's or 20 estimates.")
]
MemoryOption = Annotated[float | None, typer.Option("--memory", min=0.1, help="GB for a job; no limit unless said.")]
GpusOption = Annotated[
    float | None,
    typer.Option("--gpus-per-job", min=0.01, help="With --device cuda; 0.25 lets four jobs share one. 1 unless said."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    everything: Annotated[bool, typer.Option("--all", help="All tasks and methods of the suite.")] = False,
    suite: SuiteOption = "quick",
    task: TaskOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    metrics: MetricsOption = None,
    jobs: JobsOption = CORES,
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    timeout: TimeoutOption = None,
    memory: MemoryOption = None,
    gpus_per_job: GpusOption = None,
    store: StoreOption = None,
    results: ResultsOption = "results",
    data: DataOption = None,
    device: DeviceOption = "cpu",
    plugin: PluginOption = None,
    fresh: FreshOption = False,
    flops: Annotated[
        bool, typer.Option("--flops", help="Also count operations at each task's first seed, which unlearns twice.")
    ] = False,
    shard: ShardOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a suite, or what is selected of it, then build tables and figures."""
    if not (everything or task or method):
        raise BenchmarkError("say what to run: --all, --task NAME or --method NAME (`list tasks` shows them).")
    from benchmark import session

    places = (store or _cache() / "store", results, data or _cache() / "data")
    options = session.options(*places, device, fresh, flops, elsewhere=address is not None)
    plan = session.plan(suite, options, task, method, seeds, metrics, plugin, shard)
    console = Console(stderr=as_json)
    if dry_run:
        _print_plan(plan, options, jobs, as_json)
        return
    machine = session.Machine(executor, jobs, timeout, memory, gpus_per_job, address)
    with _resumable():
        outcome = session.run(plan, options, machine, console, quiet)
    if as_json:
        print(json.dumps(outcome.as_json()))
    else:
        outcome.show(console)
    raise typer.Exit(1 if outcome.failed else 0)


@app.command("plan")
def plan_command(
    suite: SuiteOption = "quick",
    task: TaskOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    metrics: MetricsOption = None,
    jobs: JobsOption = CORES,
    store: StoreOption = None,
    results: ResultsOption = "results",
    data: DataOption = None,
    device: DeviceOption = "cpu",
    plugin: PluginOption = None,
    fresh: FreshOption = False,
    shard: ShardOption = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Instead: what is computed again since this revision, and why.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what would run, what is cached, and what it will cost."""
    from benchmark import session

    options = session.options(store or _cache() / "store", results, data or _cache() / "data", device, fresh)
    if since is not None:
        from benchmark.since import in_words

        content = session.since(suite, options, since, task, method, seeds, metrics, plugin)
        print(json.dumps(content) if as_json else in_words(content))
        return
    plan = session.plan(suite, options, task, method, seeds, metrics, plugin, shard)
    _print_plan(plan, options, jobs, as_json)


@app.command()
def score(
    suite: SuiteOption = "quick",
    task: TaskOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    metrics: MetricsOption = None,
    jobs: JobsOption = CORES,
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    timeout: TimeoutOption = None,
    memory: MemoryOption = None,
    gpus_per_job: GpusOption = None,
    store: StoreOption = None,
    results: ResultsOption = "results",
    data: DataOption = None,
    device: DeviceOption = "cpu",
    plugin: PluginOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute metrics anew from stored outputs, without any model; only what changed since is computed."""
    from benchmark import session

    places = (store or _cache() / "store", results, data or _cache() / "data")
    options = session.options(*places, device, False, elsewhere=address is not None)
    work, notes = session.score(session.plan(suite, options, task, method, seeds, metrics, plugin))
    console = Console(stderr=as_json)
    machine = session.Machine(executor, jobs, timeout, memory, gpus_per_job, address)
    with _resumable():
        outcome = session.run(work, options, machine, console, quiet)
    outcome.summary.notes += notes
    if as_json:
        print(json.dumps(outcome.as_json()))
    else:
        outcome.show(console)
    raise typer.Exit(1 if outcome.failed else 0)


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; type the same command again to go on from here.", file=sys.stderr)
        raise typer.Exit(130) from None


def _print_plan(plan: Any, options: Any, jobs: int, as_json: bool) -> None:
    from benchmark import session

    session.rehearse(plan, options)
    content = session.plan_as_json(plan, jobs)
    print(json.dumps(content) if as_json else session.plan_in_words(content))


@app.command("list")
def list_command(
    kind: Annotated[
        str, typer.Argument(help="methods, datasets, scenarios, learners, metrics, executors, tasks or suites")
    ],
    suite: SuiteOption = "quick",
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what there is."""
    from benchmark import catalogue

    rows = catalogue.rows(kind, suite, plugin or [])
    if as_json:
        print(json.dumps(rows))
    else:
        Console().print(catalogue.table(kind, rows))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, scenario, learner, metric, task or suite.")],
    suite: SuiteOption = "quick",
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one component: its source, parameters with defaults and ranges, citation."""
    from benchmark import catalogue

    content = catalogue.describe(name, suite, plugin or [])
    if as_json:
        print(json.dumps(content))
    else:
        Console().print(catalogue.page(content))


@app.command()
def check(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Files with methods of yours (.py), or names.", autocompletion=_complete_methods),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every registered method.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that methods keep their promises, presets included, on every learner that they apply to."""
    if not (targets or everything):
        raise BenchmarkError("say what to check: the file of a method, the name of one, or --all.")
    from benchmark import catalogue

    names = catalogue.methods_of(targets or [], everything)
    from benchmark import conformance

    bar = Console(stderr=True)
    shown = track(names, "checking", console=bar, transient=True, disable=not bar.is_terminal)
    verdicts = [verdict for name in shown for verdict in conformance.examine(name)]
    if as_json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
    else:
        Console().print(catalogue.table("promises", [verdict.row() for verdict in verdicts]))
    raise typer.Exit(1 if any(verdict.failed for verdict in verdicts) else 0)


@app.command()
def report(results: ResultsOption = "results", as_json: JsonOption = False) -> None:
    """Build tables and figures from the records of a results folder."""
    from benchmark.report import build_report

    built = build_report(results)
    if as_json:
        print(json.dumps(built.as_json()))
    else:
        built.show(Console())


@app.command()
def gc(
    store: StoreOption = None,
    results: Annotated[
        list[str] | None, typer.Option("--results", help="Folder or URL of records; give all that the store serves.")
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, help="Days; what is younger stays, for somebody may be at work.")
    ] = 1.0,
    quarantine: Annotated[
        float, typer.Option("--quarantine", min=0, help="Days that damaged artefacts stay where they were put aside.")
    ] = 7.0,
    plugin: PluginOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove from the store what no record needs."""
    from benchmark.keeping.garbage import collect

    for path in plugin or []:
        registry.add_plugin(path)
    found = collect(store or _cache() / "store", results or ["results"], older_than, quarantine, dry_run)
    if as_json:
        print(json.dumps(found.as_json() | {"dry_run": dry_run}))
    else:
        print("\n".join(found.in_words(dry_run)))


@app.command()
def validate(
    path: Annotated[str, typer.Argument(help="A results folder, a folder of records, or the file of one.")],
    store: Annotated[str | None, typer.Option("--store", help="Check the hashes of the artefacts there, too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check records: schema, names, hashes, numbers that are possible and add up. Runs no code of theirs."""
    from benchmark.keeping.validity import validate

    verdict = validate(path, store)
    if as_json:
        print(json.dumps(verdict.as_json()))
    else:
        print("\n".join(verdict.in_words()))
    raise typer.Exit(1 if verdict.problems else 0)


@app.command()
def compact(
    results: ResultsOption = "results",
    out: Annotated[
        str | None, typer.Option("--out", help="The file; `records.parquet` of the results by default.")
    ] = None,
) -> None:
    """Write all records to one parquet file: a row for each record and metric."""
    from benchmark.keeping.compact import compact

    out = out or f"{results}/records.parquet"
    print(f"{out}: {compact(results, out):,} records.")
