"""Numbers over commits: the order is git's, steps are found where they are, and what does not belong stays out."""

import csv
import subprocess

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.history import figure, overview
from benchmark.history.compare import Selection
from benchmark.history.repository import Commit
from benchmark.history.series import history, load
from tests.history.made import exact, record
from tests.report import factory

COMMITS, STEPS = 40, {13: 0.09, 27: -0.06}  # the leak of method m falls at commit 13's place and rises at 27's
SEEDS = 5


def level(place):
    return 0.16 + sum(by for at, by in STEPS.items() if place >= at)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Forty commits, each with its own records, committed at the end as anybody's are."""
    folder = tmp_path_factory.mktemp("forty")

    def git(*words):
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("config", "user.name", "Somebody")
    git("config", "user.email", "somebody@example.org")
    generator = np.random.default_rng(0)
    hashes, records = [], []
    offsets = generator.normal(0, 0.02, SEEDS)  # seeds differ by their data, at every commit alike
    for place in range(COMMITS):
        git("commit", "-q", "--allow-empty", "-m", f"change {place}")
        hashes.append(git("rev-parse", "HEAD"))
        own = {"commit": hashes[-1], "code": str(place)}
        for method, gap in (("m", level(place)), ("steady", 0.2)):
            noise = offsets + generator.normal(0, 0.01, SEEDS)
            records += [record(s, 0.5 + gap + n, method, **own) for s, n in enumerate(noise)]
        records += exact(SEEDS, **own)
    factory.write(folder / "results", records)
    git("add", "-A")
    git("commit", "-q", "-m", "results")
    return folder, hashes


def test_two_planted_steps_in_forty_commits_are_both_found_and_no_third(repository, capsys):
    folder, hashes = repository
    found = {(one.method, one.metric): one for one in load(folder / "results").series}
    moved = found["m", "leak"]
    assert [point.commit.sha for point in moved.points] == hashes, (
        "in the order of commits, whatever the order of files"
    )
    with capsys.disabled():
        print(f"\nplanted at {sorted(STEPS)}, found at {moved.starts[1:]}")
    assert moved.starts == [0, *STEPS]
    assert [(step.commit.subject, step.worse) for step in moved.steps] == [("change 13", True), ("change 27", False)]
    assert [step.after - step.before for step in moved.steps] == pytest.approx(list(STEPS.values()), abs=0.015)
    assert all(not one.steps for key, one in found.items() if key != ("m", "leak"))


def test_the_table_the_csv_and_the_figure_say_so(repository, tmp_path):
    found = load(repository[0] / "results")
    chosen = found.selected(Selection(methods=["m"], metrics=["leak"]))
    files = overview.write(tmp_path, chosen, found)
    assert [file.name for file in files] == [
        "history.csv",
        *(f"toy-random-{chosen[0].definition}-m-leak.{suffix}" for suffix in ("png", "svg")),
    ]
    assert files[1].parent == tmp_path / "figures" / "history" and files[1].read_bytes().startswith(b"\x89PNG")
    rows = [row for row in csv.DictReader(files[0].open()) if (row["method"], row["metric"]) == ("m", "leak")]
    assert len(rows) == COMMITS
    stepped = [row for row in rows if row["step"]]
    assert [(row["worse"], round(float(row["step"]), 1)) for row in stepped] == [("True", 0.1), ("False", -0.1)]
    assert "change 13" in "".join(str(cell) for cell in overview._cells(chosen[0]))


def point(place, value, **fields):
    sha = f"{place:040x}"
    return [record(seed, value + seed / 1000, commit=sha, **fields) for seed in range(3)]


def known(count):
    return {f"{place:040x}": Commit(f"{place:040x}", "2026-01-01", f"change {place}") for place in range(count)}


def leaks(found):
    return [one for one in found.series if one.metric == "leak"]


def test_commits_of_elsewhere_and_code_that_was_not_committed_are_left_out_with_a_note():
    dirty = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"dirty": True})})
        for one in point(1, 0.6)
    ]
    found = history([*point(0, 0.6), *point(7, 0.6), *dirty], [], known(3))
    assert [len(one.points) for one in leaks(found)] == [1]
    assert found.notes == [
        f"3 records of commits that are no ancestors of HEAD are left out: {7:040x}"[:-30] + ".",
        "3 records of code that was not committed are left out.",
    ]


def test_series_are_not_joined_across_definitions_devices_or_versions():
    wider = factory.World("toy-random", spec={"label_noise": 0.5})
    records = [*point(0, 0.6), *point(1, 0.6, world=wider), *point(2, 0.6, versions={"torch": "3"})]
    found = history(records, [], known(3))
    assert len(leaks(found)) == 3
    times = [one for one in found.series if one.metric == "time"]
    assert len(times) == 3 and "1 threads" in times[0].environment


def test_a_step_of_less_than_five_percent_or_than_the_noise_of_retraining_is_none():
    def steps(by, floor):
        values = [0.8] * 4 + [0.8 + by] * 4
        records = [one for place, value in enumerate(values) for one in point(place, 0.5 + value)]
        records += [one for place in range(8) for one in exact(3, floor, commit=f"{place:040x}")]
        return [len(one.steps) for one in leaks(history(records, [], known(8))) if one.method == "m"]

    assert steps(0.1, floor=0.02) == [1]
    assert steps(0.03, floor=0.02) == [0]
    assert steps(0.1, floor=0.11) == [0]


def test_only_series_of_three_commits_or_more_are_drawn(tmp_path):
    records = [*point(0, 0.6), *point(1, 0.6)]
    found = history(records, [], known(2))
    assert [file.name for file in overview.write(tmp_path, found.series, found)] == ["history.csv"]
    assert figure.LEAST_COMMITS == 3


def test_a_folder_without_records_is_one_sentence(tmp_path):
    with pytest.raises(BenchmarkError, match="there are no records here; `run` makes some"):
        load(tmp_path)
