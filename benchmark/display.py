"""What people see of a run: a live bar on a terminal, plain lines elsewhere, nothing when asked."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark.api import Executor
from benchmark.plan import Plan


class Display:
    """Silent; the others extend it."""

    @contextmanager
    def showing(self, plan: Plan, executor: Executor) -> Iterator[None]:
        """While the jobs of a plan run."""
        yield

    def finished(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """A job ended."""

    def say(self, sentence: str) -> None:
        """Something that whoever pressed a key waits to read."""
        print(sentence, file=sys.stderr, flush=True)


class _Clock:
    """Jobs done and left, and how long the rest will take at the pace so far, weighed by estimates where known."""

    def __init__(self, plan: Plan) -> None:
        known = list(plan.estimates.values())
        typical = sum(known) / len(known) if known else 1.0
        self.weights = {key: plan.estimates.get(key, typical) for key in plan.jobs}
        self.total, self.done, self.weight_done = len(plan.jobs), 0, 0.0
        self.start = time.monotonic()

    def tick(self, key: str) -> None:
        self.done += 1
        self.weight_done += self.weights[key]

    def left(self) -> str:
        if not self.weight_done:
            return "time left unknown"
        elapsed = time.monotonic() - self.start
        seconds = elapsed * (sum(self.weights.values()) / self.weight_done - 1)
        return f"about {in_time(seconds)} left"


class Plain(Display):
    """One line for each job: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def showing(self, plan: Plan, executor: Executor) -> Iterator[None]:
        self.clock = _Clock(plan)
        yield

    def finished(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self.clock.tick(job["key"])
        position = f"[{self.clock.done}/{self.clock.total}]"
        line = f"{position} {_line(job, result)} ({self.clock.left()})"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


class Rich(Display):
    """A bar, what runs now, and lines only for what went wrong."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def showing(self, plan: Plan, executor: Executor) -> Iterator[None]:
        self.clock, self.executor = _Clock(plan), executor
        self.since: dict[str, float] = {}
        with Live(self, console=self.console, refresh_per_second=4, transient=True) as self.live:
            yield

    def finished(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self.clock.tick(job["key"])
        if result["status"] != "ok":
            self.live.console.print(_line(job, result), markup=False, highlight=False)

    def say(self, sentence: str) -> None:
        self.live.console.print(sentence, markup=False, highlight=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = time.monotonic()
        rows = Table.grid(padding=(0, 2))
        for job in self.executor.running():
            begun = self.since.setdefault(job["key"], now)
            rows.add_row(Text("  ▸"), Text(_words(job)), Text(in_time(now - begun), style="dim"))
        head = Table.grid(padding=(0, 2))
        bar: RenderableType = ProgressBar(total=self.clock.total, completed=self.clock.done, width=30)
        head.add_row(bar, Text(f"{self.clock.done} of {self.clock.total} jobs"), Text(self.clock.left(), style="dim"))
        yield Group(head, rows)


def choose(console: Console, quiet: bool) -> Display:
    """Live on a terminal, lines elsewhere."""
    if quiet:
        return Display()
    return Rich(console) if console.is_terminal else Plain(console)


def in_time(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _words(job: Mapping[str, Any]) -> str:
    run = job["run"]
    action = {"train": "train the", "run": "unlearn by", "score": "score", "population": "all seeds of"}[job["kind"]]
    seed = "" if job["kind"] == "population" else f"  seed {run['seed']}"
    return f"{run['task']['name']}{seed}  {action} {job['role']}"


def _line(job: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    seconds = " ".join(f"{stage} {value:.1f} s" for stage, value in result["seconds"].items())
    error = (result["error"] or "").strip().splitlines()
    return f"{_words(job)}: {result['status']}{': ' + error[-1] if error else ''}{'  ' + seconds if seconds else ''}"
