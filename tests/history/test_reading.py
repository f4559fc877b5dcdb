"""What a name stands for: a folder, a commit, a tag or a branch, read without a checkout; else one sentence."""

import subprocess

import pytest

from benchmark.errors import BenchmarkError
from benchmark.history.reading import Reader
from benchmark.history.repository import Repository
from tests.history.made import exact, record, runs
from tests.report import factory


class Repo:
    """A git repository with a results folder."""

    def __init__(self, folder):
        self.folder, self.results = folder, folder / "results"
        folder.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.org")

    def git(self, *words):
        return subprocess.run(
            ["git", "-C", self.folder, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self, subject, records=()):
        factory.write(self.results, records)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path):
    return Repo(tmp_path / "repo")


def test_commits_tags_branches_and_folders_stand_for_the_records_that_they_hold(repo, monkeypatch):
    first = repo.commit("one", runs([0.6, 0.7]))
    repo.git("tag", "v1")
    repo.commit("two", [record(2, 0.8)])
    repo.git("branch", "other")
    reader = Reader(repo.results)
    assert [reader.side(name).count for name in (first, first[:10], "v1", "HEAD~1", "HEAD", "other")] == [
        2,
        2,
        2,
        2,
        3,
        3,
    ]
    assert reader.side(str(repo.results)).count == 3
    assert reader.side("v1").what.startswith(f"{first[:10]} of 20") and reader.side("v1").what.endswith("'one'")
    assert repo.git("status", "--porcelain") == "" and repo.git("rev-parse", "--abbrev-ref", "HEAD") == "main"


def test_the_newest_record_of_a_run_counts_and_repeats_are_kept(repo):
    again = record(0, 0.7, date="2026-03-01T00:00:00+00:00")
    repo.commit("one", [record(0, 0.6), again, record(0, 0.5, code="older", date="2025-01-01T00:00:00+00:00")])
    side = Reader(repo.results).side("HEAD")
    assert side.runs["toy-random"]["m", False][0].metrics["leak"].value == 0.7
    repeats = side.repeats["toy-random", ("m", False), 0]
    assert [one.metrics["leak"].value for one in repeats] == [0.6, 0.7], "those of another key are no repeats"


def test_a_commit_without_records_stands_for_those_that_its_code_made(repo):
    code = repo.commit("code")
    made = [record(seed, 0.6, commit=code) for seed in range(3)]
    repo.commit("results", [*made, record(9, 0.6)])
    side = Reader(repo.results).side(code)
    assert side.count == 3 and side.what.endswith("it holds no records: those made by its code")


def test_numbers_of_all_seeds_together_stand_beside_those_of_each(repo):
    together = factory.panel([0.1, 0.2], [0.4, 0.5])
    pooled = factory.pooled(0.6)
    world, method = factory.World("toy-random"), factory.Method("m")
    population = factory.population(world, method, {"panel": together, "pooled": pooled}, seeds=[0, 1])
    factory.write(repo.results, runs([0.6, 0.7]), [population])
    found = Reader(repo.results).side(str(repo.results)).runs["toy-random"]["m", False]
    assert [(r.metrics["panel"].value, r.metrics["panel"].original) for r in found.values()] == [(0.1, 0.4), (0.2, 0.5)]
    assert "pooled" not in found[0].metrics, "it has no value for each seed"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nope", "'nope' is neither a results folder nor a commit, tag or branch of "),
        ("--all", "'--all' is neither a results folder nor a commit"),
        ("HEAD", "HEAD: this commit holds no records, and none in "),
        ("{folder}", "{folder}: there are no records here; give a folder that holds `records/`."),
    ],
)
def test_a_wrong_name_is_one_sentence(repo, name, sentence):
    repo.commit("empty")
    with pytest.raises(BenchmarkError) as problem:
        Reader(repo.results).side(name.format(folder=repo.folder))
    assert str(problem.value).startswith(sentence.format(folder=repo.folder)) and "\n" not in str(problem.value)


def test_outside_a_repository_no_commit_is_known(tmp_path):
    with pytest.raises(BenchmarkError, match="this is in no git repository, so no commits are known here"):
        Reader(tmp_path / "results").side("HEAD")


def test_a_file_that_is_no_record_is_named(repo):
    path = factory.write(repo.results, exact(1)) / "records" / "toy-random" / "m" / "x-y.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    repo.commit("broken")
    with pytest.raises(BenchmarkError, match=r"x-y\.json: this is no record"):
        Reader(repo.results).side("HEAD")


def test_a_worktree_is_gone_whatever_happens(repo, tmp_path):
    first = repo.commit("one")
    repository = Repository(repo.folder)

    def interrupted():
        with repository.worktree(tmp_path / "tree") as tree:
            assert tree.move_to(repository.commit(first)) and tree.folder.is_dir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (tmp_path / "tree").exists()
    assert len(repo.git("worktree", "list").splitlines()) == 1
