"""A small repository with the source of this one, in which defects are planted and real tiny runs are made."""

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
SEEDS = 8
CHANGES: dict[str, Any] = {
    "seeds": SEEDS,
    "metrics": ["accuracy", "membership_inference"],
    "tasks.0.recipe.epochs": 6,
    "tasks.0.methods": {},
    "methods": ["retrain", "no_op", "fine_tune"],
}
_RUN = """
import sys
from pathlib import Path
from benchmark import session
from benchmark.jobs import run_job
store, results, data, fresh = sys.argv[1:]
where = session.options(Path(store), Path(results), Path(data), "cpu", bool(int(fresh)))
for job in session.plan("tiny", where, None, None, None, None, None).jobs.values():
    print(job["role"], run_job(job))
"""


@dataclass(frozen=True)
class House:
    """A repository of its own; `store` is shared by all its commits, as by a person's."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> "House":
        """Copy the source, with the tiny suite on eight seeds, and commit it."""
        for name in ("benchmark", "methods", "datasets"):
            shutil.copytree(CHECKOUT / name, folder / "repo" / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "repo" / ".gitignore").write_text("__pycache__/\n")
        house = cls(folder)
        house.suite(CHANGES)
        house.git("init", "-q", "-b", "main")
        house.git("config", "user.name", "Somebody")
        house.git("config", "user.email", "somebody@example.org")
        house.commit("as it was")
        return house

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    def suite(self, changes: dict[str, Any]) -> None:
        """Write the suite `tiny` anew."""
        tiny.suite_file(self.repo / "benchmark" / "suites", changes)

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
        """Back to the first commit."""
        self.git("reset", "-q", "--hard", "main")

    def python(self, code: str, *words: str) -> str:
        """What a script prints that imports the repository's code."""
        environment = {**os.environ, "PYTHONPATH": str(self.repo), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=self.repo, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, results: str, fresh: bool = False) -> Path:
        """Run what the suite lacks and leave records in a folder beside the repository; tables are not built."""
        places = [str(self.folder / name) for name in ("store", results, "data")]
        self.python(_RUN, *places, str(int(fresh)))
        return self.folder / results


def held(before: Path, after: Path) -> Comparison:
    """Two results folders, compared."""
    reader = Reader(before)
    return compare(reader.side(str(before)), reader.side(str(after)))


def named(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """(task, method, number) of rows."""
    return [(row.task, row.method, row.metric) for row in rows]
