"""A small repository with the source of this one, in which defects are planted and real small runs are made."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import ROOT
from benchmark.history.compare import compare
from benchmark.history.model import Comparison, Row
from benchmark.history.reading import Reader
from tests import tiny

CHECKOUT = ROOT.parent
METHODS = ["retrain", "no_op", "gradient_ascent"]
TINY: dict[str, Any] = {
    "seeds": 8,
    "methods": METHODS,
    "tasks.0.recipe.epochs": 6,
    "tasks.0.methods": {"gradient_ascent": {"lr": 1e-3}},
}
LEARNS: dict[str, Any] = {  # what is large enough for a method to have an effect
    **TINY,
    "name": "learns",
    "tasks.0.name": "learns-random",
    "tasks.0.label_noise": 0.2,
    "tasks.0.split": {"train": 200, "test": 150},
    "tasks.0.learner": {"name": "supervised", "encoder": {"layers": [2], "channels": [24]}},
    "tasks.0.recipe": {"lr": 0.1, "epochs": 30, "batch_size": 32, "schedule": "onecycle"},
    "tasks.0.methods": {"gradient_ascent": {"batch_size": 32, "weight_decay": 0.0}},
}
_RUN = """
import sys
from pathlib import Path
from benchmark import session
from benchmark.jobs import run_job
suite, store, results, data, fresh = sys.argv[1:]
where = session.options(Path(store), Path(results), Path(data), "cpu", bool(int(fresh)))
for job in session.plan(suite, where, None, None, None, None, None).jobs.values():
    print(job["role"], run_job(job))
"""


@dataclass(frozen=True)
class House:
    """A repository of its own; `store` is shared by all its commits, as by a person's."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> "House":
        """Copy the source with two suites of its own, `tiny` and `learns`, and commit it."""
        for name in ("benchmark", "methods", "datasets"):
            shutil.copytree(CHECKOUT / name, folder / "repo" / name, ignore=shutil.ignore_patterns("__pycache__"))
        house = cls(folder)
        (house.repo / ".gitignore").write_text("__pycache__/\n")
        house.suite(TINY)
        house.suite(LEARNS)
        house.edit("methods/gradient_ascent.py", "lr: float = bounded(1e-5", "lr: float = bounded(5e-4")
        house.git("init", "-q", "-b", "main")
        house.git("config", "user.name", "Somebody")
        house.git("config", "user.email", "somebody@example.org")
        house.commit("as it was")
        return house

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    def suite(self, changes: dict[str, Any]) -> None:
        """Write a suite anew."""
        path = tiny.suite_file(self.folder, changes)
        path.rename(self.repo / "benchmark" / "suites" / f"{changes.get('name', 'tiny')}.toml")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file."""
        text = (self.repo / path).read_text()
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
        (self.repo / path).write_text(text.replace(old, new))

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.repo), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, subject: str) -> str:
        """Commit everything; its hash."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def undo(self) -> None:
        """Back to what is committed."""
        self.git("reset", "-q", "--hard")

    def python(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Python in the repository, with its code."""
        environment = {**os.environ, "PYTHONPATH": str(self.repo), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=self.repo, env=environment, capture_output=True, text=True, check=False)

    def run(self, results: str, suite: str = "tiny", fresh: bool = False) -> Path:
        """Run what a suite lacks and leave records in a folder beside the repository; tables are not built."""
        places = [self.folder / name for name in ("store", results, "data")]
        done = self.python("-c", _RUN, suite, *places, int(fresh))
        assert done.returncode == 0, done.stdout + done.stderr
        return self.folder / results


def held(before: Path, after: Path) -> Comparison:
    """Two results folders, compared."""
    reader = Reader(before)
    return compare(reader.side(str(before)), reader.side(str(after)))


def named(rows: Sequence[Row]) -> set[tuple[str, str, str]]:
    """(task, method, number) of rows."""
    return {(row.task, row.method, row.metric) for row in rows}
