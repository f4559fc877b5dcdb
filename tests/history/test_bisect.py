"""Which commit moved a number: worktrees are real, runs are made up; commits that cannot run are skipped and named."""

import subprocess
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.history import bisect
from benchmark.history.repository import Repository
from tests.history.made import exact, runs
from tests.report import factory

VALUES = [0.60, 0.62, 0.59, 0.61, 0.63, 0.60, 0.58, 0.61]


@pytest.fixture
def repository(tmp_path):
    """Ten commits; the file `leak` says what a run of each would find, or that it cannot run."""
    folder = tmp_path / "repo"
    folder.mkdir()

    def git(*words):
        subprocess.run(["git", "-C", folder, *words], capture_output=True, check=True)

    git("init", "-q", "-b", "main")
    git("config", "user.name", "Somebody")
    git("config", "user.email", "somebody@example.org")
    for place in range(10):
        (folder / "leak").write_text("broken" if place in (5, 6) else "0.1" if place >= 4 else "0.0")
        git("add", "-A")
        git("commit", "-q", "--allow-empty", "-m", f"change {place}")
        git("tag", f"c{place}")
    return Repository(folder)


@pytest.fixture
def made_up(monkeypatch):
    """Instead of a run: records of what the checked-out file says."""
    ran: list[str] = []

    def run(command, cwd, **_):
        found = (Path(cwd) / "leak").read_text()
        ran.append(found)
        if found == "broken":
            return subprocess.CompletedProcess(command, 2, "", "error: this commit is broken.\n")
        if found == "interrupt":
            raise KeyboardInterrupt
        results = Path(command[command.index("--results") + 1])
        code = {"code": found, "date": f"2026-03-01T00:00:{len(ran):02d}+00:00"}
        factory.write(results, [*runs([v + float(found) for v in VALUES], **code), *exact(8)])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bisect, "subprocess", type("Fake", (), {"run": staticmethod(run)}))
    return ran


def question(tmp_path, metric="leak"):
    return bisect.Question(metric, "toy-random", "m", ["exact"], "quick", 8, tmp_path / "store", tmp_path / "data", 1)


def worktrees(repository):
    done = subprocess.run(
        ["git", "-C", repository.root, "worktree", "list"], capture_output=True, text=True, check=True
    )
    return len(done.stdout.splitlines())


def test_the_commit_is_found_in_a_logarithm_of_runs(repository, tmp_path, made_up):
    said: list[str] = []
    answer = bisect.bisect(repository, question(tmp_path), "c0", "c9", said.append)
    assert [commit.subject for commit in answer.suspects] == ["change 4"]
    assert (answer.row.before, answer.row.after) == (pytest.approx(0.105), pytest.approx(0.205))
    assert answer.row.decision == "worse"
    assert answer.runs <= 6
    assert worktrees(repository) == 1
    assert any("moved" in line for line in said) and any("as before" in line for line in said)
    assert answer.as_json()["suspects"][0]["subject"] == "change 4"


def test_commits_that_cannot_run_are_skipped_and_named(repository, tmp_path, made_up):
    answer = bisect.bisect(repository, question(tmp_path), "c3", "c7", lambda line: None)
    assert [commit.subject for commit in answer.suspects] == ["change 4"]
    assert set(answer.skipped.values()) == {"error: this commit is broken."}


def test_where_the_commits_between_cannot_run_all_that_may_have_moved_it_are_named(repository, tmp_path, monkeypatch):
    def run(command, cwd, **_):
        subject = subprocess.run(
            ["git", "-C", cwd, "log", "-1", "--format=%s"], capture_output=True, text=True, check=True
        )
        place = int(subject.stdout.split()[1])
        if place in (4, 5, 6):
            return subprocess.CompletedProcess(command, 2, "", "error: broken.\n")
        results = Path(command[command.index("--results") + 1])
        shift = 0.1 * (place > 6)
        factory.write(
            results, [*runs([v + shift for v in VALUES], code=str(shift), date=f"2026-03-0{place}"), *exact(8)]
        )
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bisect, "subprocess", type("Fake", (), {"run": staticmethod(run)}))
    answer = bisect.bisect(repository, question(tmp_path), "c1", "c9", lambda line: None)
    assert [commit.subject for commit in answer.suspects] == ["change 4", "change 5", "change 6", "change 7"]
    assert len(answer.skipped) == 3


@pytest.mark.parametrize(
    ("good", "bad", "metric", "sentence"),
    [
        ("c0", "c2", "leak", "leak of m does not clearly differ between"),
        ("c7", "c0", "leak", "is no ancestor of"),
        ("c0", "c5", "leak", "cannot be run: error: this commit is broken."),
        ("c0", "c9", "leek", "cannot be run: m left no leek"),
        ("c0", "nope", "leak", "'nope' is neither a results folder nor a commit"),
    ],
)
def test_a_question_without_an_answer_is_one_sentence(repository, tmp_path, made_up, good, bad, metric, sentence):
    with pytest.raises(BenchmarkError) as problem:
        bisect.bisect(repository, question(tmp_path, metric), good, bad, lambda line: None)
    assert sentence in str(problem.value) and "\n" not in str(problem.value)
    assert worktrees(repository) == 1


def test_an_interruption_leaves_no_worktree(repository, tmp_path, made_up):
    (repository.root / "leak").write_text("interrupt")
    for words in (["add", "-A"], ["commit", "-q", "-m", "interrupted"]):
        subprocess.run(["git", "-C", repository.root, *words], capture_output=True, check=True)
    with pytest.raises(KeyboardInterrupt):
        bisect.bisect(repository, question(tmp_path), "c0", "HEAD", lambda line: None)
    assert worktrees(repository) == 1
    assert made_up[-1] == "interrupt"
