"""An intended change enters the baseline with its old and new values; the baseline stands on no leaderboard."""

import subprocess

import pytest

from benchmark.errors import BenchmarkError
from benchmark.history.baseline import accept
from benchmark.history.reading import read
from benchmark.report import build_report
from tests.history.made import exact, record, runs
from tests.report import factory

VALUES = [0.60, 0.62, 0.59, 0.61, 0.63, 0.60, 0.58, 0.61]


@pytest.fixture
def repo(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path / "repo"], check=True)
    return tmp_path / "repo"


def test_new_records_replace_the_old_and_the_message_has_both_values(repo, tmp_path):
    baseline = repo / "results" / "baseline"
    first = factory.write(tmp_path / "first", [*runs(VALUES), *exact(8)])
    message, found = accept(first, baseline)
    assert found is None and message.read_text().startswith("Baseline of 16 runs\n")
    assert message.is_relative_to(repo / ".git")
    second = factory.write(tmp_path / "second", [*runs([v + 0.1 for v in VALUES], code="new"), *exact(8)])
    message, found = accept(second, baseline)
    assert [row.decision for row in found.regressions()] == ["worse"]
    text = message.read_text()
    assert text.startswith("Baseline: 1 number changes\n")
    assert "toy-random, m: gap of leak ↓ (leak) .105 -> .205 (+.100 [.100, .100]), worse" in text
    records, _ = read(baseline)
    assert len(records) == 16
    assert sorted(r.metrics["leak"].value for r in records if r.run.method == "m") == sorted(v + 0.1 for v in VALUES)


def test_curves_and_logs_are_left_out_and_all_that_is_compared_is_kept(repo, tmp_path):
    full = factory.record(factory.World(), factory.Method("m"), 0)
    accept(factory.write(tmp_path / "run", [full]), repo / "baseline")
    (kept,) = read(repo / "baseline")[0]
    assert full.curves and not kept.curves and not kept.log
    assert kept.model_copy(update={"curves": full.curves, "log": full.log}) == full


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([], "there are no records here; run the suite into it first."),
        ([record(0, 0.6, status="failed", metrics={})], "toy-random, m, seed 0 failed; a baseline has no failed runs."),
    ],
)
def test_what_is_no_baseline_is_refused_and_the_old_one_stays(repo, tmp_path, records, sentence):
    accept(factory.write(tmp_path / "old", runs(VALUES)), repo / "baseline")
    with pytest.raises(BenchmarkError, match=sentence):
        accept(factory.write(tmp_path / "new", records), repo / "baseline")
    assert len(read(repo / "baseline")[0]) == 8


def test_the_baseline_stands_on_no_leaderboard(repo, tmp_path):
    results = factory.write(repo / "results", factory.suite(factory.World("board"), [factory.Method("m")]))
    accept(factory.write(tmp_path / "run", runs(VALUES)), results / "baseline")
    assert [task.name for task in build_report(results, draw=False).summary.tasks] == ["board"]
