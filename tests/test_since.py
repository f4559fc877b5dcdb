"""`plan --since`: what a change makes the benchmark compute again, and why, in a clone that was edited."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark import ROOT

REPOSITORY = ROOT.parent
pytestmark = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="a checkout with its history is needed")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The code as it stands, committed."""
    folder = tmp_path_factory.mktemp("clone") / "repository"
    git(REPOSITORY, "clone", "--quiet", "--no-checkout", str(REPOSITORY), str(folder))
    git(folder, "checkout", "--quiet", "HEAD", "--", "benchmark", "methods", "datasets")
    tracked = git(REPOSITORY, "ls-files", "-coz", "--exclude-standard", "--", "benchmark", "methods", "datasets").split(
        "\0"
    )
    for name in filter(None, tracked):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    git(folder, "add", "benchmark", "methods", "datasets")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "as it stands")
    return folder


@pytest.fixture(autouse=True)
def as_committed(clone):
    yield
    git(clone, "checkout", "--quiet", "HEAD", "--", "benchmark", "methods", "datasets")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=tests", "-c", "user.email=tests@example.invalid")
    return subprocess.run(["git", *who, "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


def plan(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = [f"--{name}={clone.parent / name}" for name in ("store", "results", "data")]
    command = [sys.executable, "-m", "benchmark", "plan", "--since", *words, *places]
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def touched(clone: Path, *words: str) -> dict[str, Any]:
    done = plan(clone, "HEAD", "--json", "--method", "fine_tune", "--method", "no_op", *words)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def edit(clone: Path, name: str, old: str, new: str) -> None:
    file = clone / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_comments_touch_nothing_and_code_touches_the_runs_whose_key_it_is_in(clone):
    edit(clone, "methods/scrub.py", '"""', '"""Said otherwise. ')
    edit(clone, "methods/fine_tune.py", "import dataclass", "import dataclass\n\nunused = 1")
    edit(clone, "benchmark/metrics/accuracy.py", "\n\n\n", "\n\nunused = 1\n\n\n")
    content = touched(clone)
    said = {reason["what"]: reason for reason in content["reasons"]}
    assert set(said) == {"methods/fine_tune.py changed", "benchmark/metrics/accuracy.py changed"}
    again = said["methods/fine_tune.py changed"]
    assert {run["method"] for run in again["run_again"]} == {"fine_tune"}
    assert not again["scored_again"]
    scored = said["benchmark/metrics/accuracy.py changed"]
    assert not scored["run_again"]
    assert {run["method"] for run in scored["scored_again"]} >= {"fine_tune", "no_op"}
    assert 0 <= content["untouched"] < content["runs"]


def test_settings_and_seeds_of_a_suite_are_reasons_too(clone):
    suite = "benchmark/suites/quick.toml"
    edit(clone, suite, "label_noise = 0.2", "label_noise = 0.1")
    edit(clone, suite, "seeds = 3\n", "seeds = 4\n")
    content = touched(clone)
    says, more = content["reasons"]
    assert says["what"] == "suite 'quick' says otherwise"
    assert {run["task"] for run in says["run_again"]} == {"digits-supervised-random"}
    assert more["what"] == "suite 'quick' asks for more"
    assert {run["seed"] for run in more["run_again"]} == {3}


def test_people_read_one_line_a_reason_and_unknown_revisions_are_refused(clone):
    file = clone / "methods" / "fine_tune.py"
    file.write_text(file.read_text() + "\nunused = 1\n")
    told = plan(clone, "HEAD", "--method", "fine_tune", "--task", "digits-byol-random").stdout.splitlines()
    assert told == [
        "since HEAD: 3 of 3 runs are computed or scored again.",
        "  methods/fine_tune.py changed: 3 runs are computed again (fine_tune; digits-byol-random)",
    ]
    refused = plan(clone, "nobody")
    assert refused.returncode == 2
    assert (
        refused.stderr == "error: --since nobody: git knows no such commit, tag or branch here; `git log` shows them.\n"
    )
