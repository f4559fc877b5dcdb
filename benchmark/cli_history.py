"""The commands that ask whether something changed: compare, bisect, history, baseline.

Exit codes: 0 nothing regressed, 3 something did, 2 the command was wrong.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmark import registry
from benchmark.errors import BenchmarkError

REGRESSED = 3
BASELINE = Path("results/baseline")

TaskOption = Annotated[list[str] | None, typer.Option("--task", help="Only these tasks; wildcards allowed.")]
MethodOption = Annotated[list[str] | None, typer.Option("--method", help="Only these methods; wildcards allowed.")]
MetricOption = Annotated[
    list[str] | None, typer.Option("--metric", help="Only these numbers, `time` among them; wildcards allowed.")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of records, tables and figures.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (compare, bisect, history, baseline):
        app.command()(command)


def compare(
    before: Annotated[str, typer.Argument(help="The baseline: a commit, tag, branch or results folder.")],
    after: Annotated[str, typer.Argument(help="The candidate: likewise.")],
    task: TaskOption = None,
    method: MethodOption = None,
    metric: MetricOption = None,
    fail_on: Annotated[
        Literal["quality", "time", "any"], typer.Option("--fail-on", help="Which regressions make the exit code 3.")
    ] = "any",
    everything: Annotated[bool, typer.Option("--all", help="Show what did not change, too.")] = False,
    results: ResultsOption = Path("results"),
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a comment for a pull request.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hold the results of two commits or folders against each other: better, worse, same or cannot tell, and why."""
    from benchmark.history import show
    from benchmark.history.compare import Selection
    from benchmark.history.compare import compare as hold
    from benchmark.history.reading import Reader

    reader = Reader(results)
    selection = Selection(task or (), method or (), metric or ())
    comparison = hold(reader.side(before), reader.side(after), selection)
    if as_json:
        print(json.dumps(comparison.as_json()))
    elif as_markdown:
        print(show.markdown(comparison, everything), end="")
    else:
        console = Console()
        console.print(show.terminal(comparison, everything, console.width))
    raise typer.Exit(REGRESSED if comparison.regressions(fail_on) else 0)


def history(
    task: TaskOption = None,
    method: MethodOption = None,
    metric: MetricOption = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Follow numbers over commits, from committed records; mark steps, write history.csv and a figure per series.

    Series are cut by a piecewise constant L1 (Potts) fit: dynamic programming, penalty 4 log n per segment as in asv;
    a step lasts two commits or more and exceeds 5 % of the level before and the noise of retraining.
    """
    from benchmark.history import overview
    from benchmark.history.compare import Selection
    from benchmark.history.series import load

    found = load(results)
    chosen = found.selected(Selection(task or (), method or (), metric or ()))
    files = overview.write(results, chosen, found)
    if as_json:
        print(
            json.dumps(
                {"series": [one.as_json() for one in chosen], "notes": found.notes, "files": list(map(str, files))}
            )
        )
    else:
        console = Console()
        console.print(overview.terminal(chosen, found, console.width))
        print(f"{len(files)} files written below {results}.")


def bisect(
    metric: Annotated[str, typer.Argument(help="The number that moved, such as stands in `compare`'s table.")],
    good: Annotated[str, typer.Option("--good", help="An older commit, where it was as it should be.")],
    bad: Annotated[str, typer.Option("--bad", help="A younger commit, where it is not.")],
    task: Annotated[str, typer.Option("--task", help="The task's name.")],
    method: Annotated[str, typer.Option("--method", help="The method's name.")],
    suite: Annotated[
        str, typer.Option("--suite", help="Each commit's suite of this name, or one file for all.")
    ] = "quick",
    seeds: Annotated[int | None, typer.Option("--seeds", min=3, help="Seeds 0 to N-1 instead of the suite's.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Jobs at once.")] = os.cpu_count() or 1,
    store: Annotated[Path | None, typer.Option("--store", help="Folder of trained models, shared by commits.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder that datasets lie in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the commit that moved a number: commits are run with their own code in a temporary worktree.

    What a commit did not touch is in the shared store already. Commits that cannot be run are skipped and named.
    """
    from benchmark.history import bisect as search
    from benchmark.history import show
    from benchmark.history.repository import Repository

    repository = Repository(Path.cwd())
    suite = str(Path(suite).resolve()) if suite.endswith(".toml") else suite
    exact = [name for name in registry.names("method") if "[" not in name and name != method and _is_exact(name)]
    question = search.Question(metric, task, method, exact, suite, seeds, *_places(store, data), jobs)
    console = Console(stderr=as_json)
    answer = search.bisect(repository, question, good, bad, lambda line: console.print(line, highlight=False))
    if as_json:
        print(json.dumps(answer.as_json()))
        return
    for sha, reason in answer.skipped.items():
        console.print(f"skipped {sha[:10]}: {reason}", markup=False, highlight=False)
    row = answer.row
    head = (
        "The commit that moved it:"
        if len(answer.suspects) == 1
        else "The number moved at one of these; those between cannot be run:"
    )
    lines = [head, *(f"  {commit.sha} {commit.subject}" for commit in answer.suspects)]
    lines += [f"{row.task}, {row.method}: {show.what_of(row)}"]
    values = f"{show.side_of(row, row.before)} → {show.side_of(row, row.after)} ({show.change(row)})"
    lines += [f"{values}, {row.decision}: {row.why}"]
    console.print("\n".join(lines), markup=False, highlight=False)


def baseline(
    results: Annotated[
        Path | None, typer.Argument(help="A run's results folder; unless given, the suite is run.")
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="What is run if no folder is given.")] = "ci",
    into: Annotated[Path, typer.Option("--baseline", help="Folder of the baseline.")] = BASELINE,
    store: Annotated[Path | None, typer.Option("--store", help="Folder of trained models and outputs.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder that datasets lie in.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Jobs at once.")] = os.cpu_count() or 1,
    as_json: JsonOption = False,
) -> None:
    """Accept an intended change: new records become the baseline that CI compares with.

    Old and new values are written into a file for the commit message: `git commit --edit --file FILE`.
    """
    from benchmark.history.baseline import accept
    from benchmark.history.show import terminal

    with TemporaryDirectory(prefix="benchmark-baseline-") as folder:
        if results is None:
            results = Path(folder)
            _run(suite, results, *_places(store, data), jobs)
        message, comparison = accept(results, into)
    if as_json:
        print(json.dumps({"message": str(message), "changes": comparison.as_json() if comparison else None}))
        return
    if comparison is not None:
        Console().print(terminal(comparison))
    print(f"baseline written to {into}; commit it with: git add {into} && git commit --edit --file {message}")


def _run(suite: str, results: Path, store: Path, data: Path, jobs: int) -> None:
    """Run a suite; nothing may fail."""
    from benchmark import session

    options = session.options(store, results, data, "cpu", False)
    work = session.plan(suite, options, None, None, None, None, None)
    outcome = session.run(work, options, session.Machine(jobs=jobs), Console(stderr=True), False)
    if outcome.failed:
        job, error = outcome.summary.failed[0]
        raise BenchmarkError(f"{job} failed, so there is no new baseline: {error.strip().splitlines()[-1]}")


def _places(store: Path | None, data: Path | None) -> tuple[Path, Path]:
    """Folders of models and of datasets, as for `run`."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unlearning-benchmark"
    cache = Path(os.environ.get("UNLEARNING_BENCHMARK_CACHE", default))
    return (store or cache / "store").resolve(), (data or cache / "data").resolve()


def _is_exact(method: str) -> bool:
    return bool(registry.get("method", method).info.oracle)
