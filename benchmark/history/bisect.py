"""Which commit moved a number: commits are run in a temporary worktree with their own code, the middle one first.

The store is shared, so whatever a commit did not touch is there already, and a run costs little more than its start.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.history.compare import Selection, compare
from benchmark.history.model import Row
from benchmark.history.reading import Side, as_side, read
from benchmark.history.repository import Commit, Repository, Worktree

Say = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked: one number of one method on one task, and what runs need.

    Attributes:
        metric: The name of the number.
        task: The name of a task of the suite.
        method: The name of a method.
        exact: Methods whose distance to retraining is the noise; they run at `good` only.
        suite: A suite's name, then each commit's own, or the path of a file for all.
        seeds: How many; those of the suite unless said.
        store: Folder of trained models, shared by all commits.
        data: Folder of datasets.
        jobs: At once.
    """

    metric: str
    task: str
    method: str
    exact: Sequence[str]
    suite: str
    seeds: int | None
    store: Path
    data: Path
    jobs: int


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        suspects: The first commit that moved the number; several if commits between could not be run.
        row: The number before (at `good`) and after (at the last of the suspects).
        skipped: Commits that could not be run, with the reason.
        runs: How many commits were run.
    """

    suspects: list[Commit]
    row: Row
    skipped: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def bisect(repository: Repository, question: Question, good: str, bad: str, say: Say) -> Answer:
    """Find the commit after which a number is another.

    Args:
        repository: Where the commits are.
        question: What is asked.
        good: The older commit.
        bad: The younger one, its descendant along first parents.
        say: Told of each commit that was run.

    Raises:
        BenchmarkError: If `good` or `bad` cannot be run, or they do not differ clearly.
    """
    first, last = repository.commit(good), repository.commit(bad)
    line = [first, *repository.between(first, last)]
    with _runner(repository, question, say) as runner:
        for end in (first, last):
            if not runner.side(end):
                raise BenchmarkError(f"{end.short} cannot be run: {runner.skipped[end.sha]}")
        whole = runner.row(first, last)
        if whole.decision not in ("worse", "better", "changed"):
            raise BenchmarkError(
                f"{question.metric} of {question.method} does not clearly differ between {first.short} and "
                f"{last.short} ({whole.before:.4g} and {whole.after:.4g}: {whole.why}); more --seeds may tell."
            )
        low, high = 0, len(line) - 1
        while (middle := _next(line, low, high, runner.skipped)) is not None:
            if not runner.side(line[middle]):
                continue
            row = runner.row(first, line[middle])
            moved = row.decision == whole.decision
            say(f"  {line[middle].short} {question.metric} {row.after:.4g}: {'moved' if moved else 'as before'}")
            low, high = (low, middle) if moved else (middle, high)
        return Answer(line[low + 1 : high + 1], runner.row(first, line[high]), runner.skipped, len(runner.sides))


def _next(line: Sequence[Commit], low: int, high: int, skipped: dict[str, str]) -> int | None:
    """The place nearest to the middle between two that can still be tried."""
    left = [place for place in range(low + 1, high) if line[place].sha not in skipped]
    return min(left, key=lambda place: abs(2 * place - low - high)) if left else None


class _Runner:
    """Runs commits in one worktree and keeps what their records say."""

    def __init__(self, tree: Worktree, folder: Path, question: Question, say: Say) -> None:
        self._tree, self._folder, self._question, self._say = tree, folder, question, say
        self.sides: dict[str, Side] = {}
        self.skipped: dict[str, str] = {}

    def side(self, commit: Commit) -> Side | None:
        """A commit's records; None, and the reason in `skipped`, if it cannot be run."""
        if commit.sha not in self.sides and commit.sha not in self.skipped:
            self._say(f"run {commit.short} {commit.subject}")
            reason = self._run(commit)
            if reason is not None:
                self.skipped[commit.sha] = reason
                self._say(f"  skipped: {reason}")
        return self.sides.get(commit.sha)

    def row(self, before: Commit, after: Commit) -> Row:
        """The decision on the number between two commits that were run."""
        asked = self._question
        selection = Selection([asked.task], [asked.method], [asked.metric])
        rows = compare(self.sides[before.sha], self.sides[after.sha], selection).rows
        if not rows:
            raise BenchmarkError(
                f"{asked.metric} of {asked.method} on {asked.task} cannot be held against each other at {before.short} "
                f"and {after.short}; `compare` says why."
            )
        return rows[0]

    def _run(self, commit: Commit) -> str | None:
        """Run the method; the reason if that is impossible."""
        if not self._tree.move_to(commit):
            return "git cannot check it out"
        asked, results = self._question, self._folder / commit.sha
        methods = [asked.method, *([] if self.sides else asked.exact)]
        command = [sys.executable, "-m", "benchmark", "run", "--quiet", "--task", asked.task, "--suite", asked.suite]
        command += [word for method in methods for word in ("--method", method)]
        command += ["--results", str(results), "--store", str(asked.store), "--data", str(asked.data)]
        command += ["--jobs", str(asked.jobs), *(["--seeds", str(asked.seeds)] if asked.seeds else [])]
        environment = {**os.environ, "PYTHONPATH": str(self._tree.folder)}
        done = subprocess.run(
            command, cwd=self._tree.folder, env=environment, capture_output=True, text=True, check=False
        )
        records, populations = read(results)
        if done.returncode and not records:  # with records, they say what failed
            return _last_line(done.stderr) or f"`run` ended with {done.returncode}"
        side = as_side(commit.sha, commit.short, records, populations)
        of_method = [one for one in records if one.run.method == asked.method and asked.metric in one.metrics]
        if not of_method:
            errors = [_last_line(one.error) for one in records if one.error]
            return errors[0] if errors else f"{asked.method} left no {asked.metric}"
        first = next(iter(self.sides.values()), side)
        if side.task(asked.task).identity() != first.task(asked.task).identity():
            return "the task is defined otherwise there"
        self.sides[commit.sha] = side
        return None


@contextmanager
def _runner(repository: Repository, question: Question, say: Say) -> Iterator[_Runner]:
    """A runner in a worktree of its own, removed in the end whatever happens."""
    with TemporaryDirectory(prefix="benchmark-bisect-") as folder, repository.worktree(Path(folder) / "tree") as tree:
        yield _Runner(tree, Path(folder) / "results", question, say)


def _last_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1][:200] if lines else ""
