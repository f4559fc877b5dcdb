"""What a commit makes the benchmark compute again, and why: keys now beside the keys that older files would give.

Nothing is guessed from names. Each file that changed is put back, alone and in thought, and the suite is planned anew;
the runs whose key is another then are those that the change can have touched.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import ROOT, keys, registry
from benchmark.errors import BenchmarkError
from benchmark.plan import SUITES, Known, Options, make_plan
from benchmark.specs import Suite, TaskSpec, load_suite

Run = tuple[str, str, int]
"""Task, method (with its arm), seed."""
TREES = ("benchmark", "methods", "datasets")


@dataclass(frozen=True)
class Reason:
    """One change.

    Attributes:
        what: `methods/scrub.py changed`.
        again: The runs that unlearn again.
        scored: Those that are only scored again, from stored outputs.
    """

    what: str
    again: frozenset[Run]
    scored: frozenset[Run]


def touched(
    suite: Suite, path: str, where: Options, fingerprint: Callable[[TaskSpec], str], rev: str
) -> dict[str, Any]:
    """Which runs of a suite are computed again since a revision, and why.

    Args:
        suite: As it is now.
        path: Its name or file.
        where: Places and selection.
        fingerprint: Task -> hash of its dataset's files.
        rev: Commit, tag or branch.

    Raises:
        BenchmarkError: If git does not know the revision.
    """
    commit = _commit(rev)

    def planned(which: Suite) -> dict[Run, dict[str, str]]:
        return _runs(make_plan(which, replace(where, fresh=False), fingerprint, Known()).jobs.values())

    now = planned(suite)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for file, old in _changed(commit, Path(folder)):
            with registry.reading({file: old}):
                before = planned(suite)
            name = file.relative_to(ROOT.parent)
            found.append(_reason(f"{name} {'changed' if old.stat().st_size else 'is new'}", now, before))
        keys.forget_sources()
        before_suite = _suite_then(commit, path, Path(folder))
        if before_suite is not None:
            before = planned(before_suite)
            found.append(_reason(f"suite {suite.name!r} says otherwise", now, before))
            more = frozenset(now.keys() - before.keys())
            found.append(Reason(f"suite {suite.name!r} asks for more", more, frozenset()))
        else:
            found.append(Reason(f"suite {suite.name!r} is new, or could not be read then", frozenset(now), frozenset()))
    runs = frozenset[Run]().union(*(reason.again | reason.scored for reason in found))
    return {
        "since": rev,
        "runs": len(now),
        "untouched": len(now) - len(runs),
        "reasons": [
            {"what": reason.what, "run_again": _listed(reason.again), "scored_again": _listed(reason.scored)}
            for reason in found
            if reason.again or reason.scored
        ],
    }


def in_words(content: dict[str, Any]) -> str:
    """For people: a line a reason, with how many runs of which tasks and methods."""
    touched = content["runs"] - content["untouched"]
    lines = [f"since {content['since']}: {touched} of {content['runs']} runs are computed or scored again."]
    for reason in content["reasons"]:
        for what, runs in (("computed", reason["run_again"]), ("scored", reason["scored_again"])):
            if runs:
                tasks, methods = ({run[key] for run in runs} for key in ("task", "method"))
                lines.append(
                    f"  {reason['what']}: {len(runs)} runs are {what} again ({_few(methods, 'methods')}; "
                    f"{_few(tasks, 'tasks')})"
                )
    return "\n".join(lines)


def _few(names: set[str], what: str) -> str:
    return ", ".join(sorted(names)) if len(names) <= 3 else f"{len(names)} {what}"


def _listed(runs: frozenset[Run]) -> list[dict[str, Any]]:
    return [{"task": task, "method": method, "seed": seed} for task, method, seed in sorted(runs)]


def _runs(jobs: Any) -> dict[Run, dict[str, str]]:
    return {
        (job["run"]["task"]["name"], job["role"], job["run"]["seed"]): {**job["keys"], "record": job["key"]}
        for job in jobs
        if job["kind"] == "run"
    }


def _reason(what: str, now: dict[Run, dict[str, str]], before: dict[Run, dict[str, str]]) -> Reason:
    both = [run for run in now if run in before]
    observed = [place for run in both for place in now[run] if "/" in place]
    again = frozenset(r for r in both if any(now[r].get(p) != before[r].get(p) for p in {*observed, "unlearned"}))
    scored = frozenset(r for r in both if now[r]["record"] != before[r]["record"]) - again
    return Reason(what, again, scored)


# -- git ---------------------------------------------------------------------------------------------------


def _commit(rev: str) -> str:
    done = _git("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}")
    if done is None:
        raise BenchmarkError(f"--since {rev}: git knows no such commit, tag or branch here; `git log` shows them.")
    return done.decode().strip()


def _changed(commit: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """(file, what it was then) of Python files that do something else now; what was not there was empty."""
    names = (_git("diff", "--name-only", "-z", commit, "--", *TREES) or b"").decode().split("\0")
    names += (_git("ls-files", "--others", "--exclude-standard", "-z", "--", *TREES) or b"").decode().split("\0")
    for number, name in enumerate(sorted({name for name in names if name.endswith(".py")})):
        file, old = ROOT.parent / name, folder / f"{number}.py"
        old.write_bytes(_git("show", f"{commit}:{name}") or b"")
        if file.is_file() and registry.source_hash(file) != registry.source_hash(old):
            yield file, old


def _suite_then(commit: str, path: str, folder: Path) -> Suite | None:
    """The suite at a commit, if it was there and can still be read."""
    file = Path(path) if path.endswith(".toml") else SUITES / f"{path}.toml"
    if not file.resolve().is_relative_to(ROOT.parent):
        return None
    content = _git("show", f"{commit}:{file.resolve().relative_to(ROOT.parent)}")
    if content is None:
        return None
    then = folder / file.name
    then.write_bytes(content)
    try:
        return load_suite(str(then), SUITES)
    except BenchmarkError:
        return None


def _git(*words: str) -> bytes | None:
    """What git prints; None if it fails."""
    done = subprocess.run(["git", "-C", str(ROOT.parent), *words], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
