"""The commands. No logic: each gathers its options, calls one function, prints what comes back.

Exit codes: 0 all ran, 1 some run or check failed, 2 the command was wrong.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmark import __version__, cli_history, registry
from benchmark.errors import BenchmarkError
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


def _cache() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unlearning-benchmark"
    return Path(os.environ.get("UNLEARNING_BENCHMARK_CACHE", default))


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
StoreOption = Annotated[Path | None, typer.Option("--store", help="Folder of trained models and outputs.")]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of records, tables and figures.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder that datasets lie in or are fetched to.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
PluginOption = Annotated[list[Path] | None, typer.Option("--plugin", help="A Python file with components of yours.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Compute again whatever is cached.")]
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
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Jobs at once; one core each.")] = os.cpu_count() or 1,
    executor: Annotated[str, typer.Option("--executor", help="local or serial.")] = "local",
    store: StoreOption = None,
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    device: DeviceOption = "cpu",
    plugin: PluginOption = None,
    fresh: FreshOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a suite, or what is selected of it, then build tables and figures."""
    if not (everything or task or method):
        raise BenchmarkError("say what to run: --all, --task NAME or --method NAME (`list tasks` shows them).")
    from benchmark import session

    options = session.options(store or _cache() / "store", results, data or _cache() / "data", device, fresh)
    plan = session.plan(suite, options, task, method, seeds, metrics, plugin)
    console = Console(stderr=as_json)
    if dry_run:
        _print_plan(plan, options, jobs, as_json)
        return
    try:
        outcome = session.run(plan, options, executor, jobs, console, quiet)
    except KeyboardInterrupt:
        print("interrupted; type the same command again to go on from here.", file=sys.stderr)
        raise typer.Exit(130) from None
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
    jobs: Annotated[int, typer.Option("--jobs", min=1)] = os.cpu_count() or 1,
    store: StoreOption = None,
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    device: DeviceOption = "cpu",
    plugin: PluginOption = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what would run, what is cached, and what it will cost."""
    from benchmark import session

    options = session.options(store or _cache() / "store", results, data or _cache() / "data", device, fresh)
    _print_plan(session.plan(suite, options, task, method, seeds, metrics, plugin), options, jobs, as_json)


@app.command()
def score(
    suite: SuiteOption = "quick",
    task: TaskOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    metrics: MetricsOption = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1)] = os.cpu_count() or 1,
    executor: Annotated[str, typer.Option("--executor", help="local or serial.")] = "local",
    store: StoreOption = None,
    results: ResultsOption = Path("results"),
    data: DataOption = None,
    device: DeviceOption = "cpu",
    plugin: PluginOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute metrics anew from stored outputs, without any model; only what changed since is computed."""
    from benchmark import session

    options = session.options(store or _cache() / "store", results, data or _cache() / "data", device, False)
    work, notes = session.score(session.plan(suite, options, task, method, seeds, metrics, plugin))
    console = Console(stderr=as_json)
    outcome = session.run(work, options, executor, jobs, console, quiet)
    outcome.summary.notes += notes
    if as_json:
        print(json.dumps(outcome.as_json()))
    else:
        outcome.show(console)
    raise typer.Exit(1 if outcome.failed else 0)


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
def report(results: ResultsOption = Path("results"), as_json: JsonOption = False) -> None:
    """Build tables and figures from the records of a results folder."""
    from benchmark.report import build_report

    built = build_report(results)
    if as_json:
        print(json.dumps(built.as_json()))
    else:
        built.show(Console())
