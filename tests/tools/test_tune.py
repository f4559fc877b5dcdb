"""The search for settings: the same draws every time, all in range; the rule on tables made by hand; what it left."""

import importlib.util
import json
from dataclasses import fields
from pathlib import Path

import pytest

from benchmark import ROOT, registry
from benchmark.plan import SUITES, applicability, resolve_method
from benchmark.specs import RunSpec, load_suite
from tests.report.factory import Method, World, record

_spec = importlib.util.spec_from_file_location("tune", ROOT.parent / "tools" / "tune.py")
tune = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tune)

SUITE = load_suite("quick", SUITES)
TASKS = {task.name: task for task in SUITE.tasks}
CLASSIFIER = TASKS["digits-supervised-random"]
CASES = [
    pytest.param(task, name, id=f"{task.name}-{name}")
    for task in SUITE.tasks
    for name in tune.STRENGTH
    if applicability(name, task) is None
]


# -- what is tried -------------------------------------------------------------------------------------------


def test_every_method_is_searched_but_the_controls():
    methods = {name for name in registry.names("method") if "[" not in name}
    assert methods - set(tune.STRENGTH) == {"retrain", "no_op", "truncated_retrain", "sisa"}
    assert all(1 <= len(names) <= 3 for names in tune.STRENGTH.values())


@pytest.mark.parametrize(("task", "method"), CASES)
def test_every_setting_that_is_drawn_is_in_reach_and_in_the_declared_range(task, method):
    first, *drawn = tried = tune.settings(method, task)
    assert tried == tune.settings(method, task)
    assert first == tune.start(method, task.paradigm)
    assert len(tried) == (4 if method == "eu_k" else tune.BUDGET)  # of blocks in reach there are four
    declared = {field.name: field.metadata for field in fields(registry.get("method", method).target)}
    before = resolve_method(method, tune.with_settings(task, {method: first}), "quick")
    params = [resolve_method(method, tune.with_settings(task, {method: one}), "quick") for one in tried]
    assert all(params.count(one) == 1 for one in params)
    for one in drawn:
        assert one.keys() - first.keys() <= set(tune.STRENGTH[method])
        for name in tune.STRENGTH[method]:
            reach = 4 if name in ("epochs", "k", "msteps") else 30
            assert before[name] / reach / 1.06 <= one[name] <= before[name] * reach * 1.06  # two digits are kept
            assert declared[name]["low"] <= one[name] <= declared[name]["high"]
            assert isinstance(one[name], type(before[name]))


def test_each_quarter_of_a_range_is_drawn_once():
    first, *drawn = tune.settings("fisher_forgetting", CLASSIFIER)
    assert first == {}
    edges = [1e-6 * 30 ** (place - 1) for place in (0, 0.5, 1, 1.5, 2)]
    quarters = [sum(edge < one["alpha"] for edge in edges) for one in drawn]
    assert sorted(quarters) == [1, 2, 3, 4]


# -- the rule ------------------------------------------------------------------------------------------------


def trials(*rows, method="scrub", task=CLASSIFIER.name):
    """(gap, out) -> trials; setting n has `lr` n / 100."""
    settings = [json.dumps({"lr": n / 100} if n else {}) for n in range(len(rows))]
    return [tune.Trial(task, method, n, settings[n], gap=gap, out=out) for n, (gap, out) in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        ([(0.3, ""), (0.1, ""), (0.2, "")], 1),
        ([(0.3, ""), (0.0, "utility lost"), (0.2, ""), (0.1, "collapsed")], 2),
        ([(0.3, ""), (None, "diverged"), (None, "failed"), (0.4, "")], 0),
        ([(0.3, ""), (0.3, "")], 0),
        ([(0.01, "utility lost"), (0.3, "")], 1),
        ([(0.3, "collapsed"), (0.01, "utility lost")], 0),
        ([(0.2, ""), (0.0, "")], 1),
    ],
    ids=["smallest", "out", "no number", "tie", "start out", "all out", "zero"],
)
def test_the_smallest_gap_of_what_stands_is_chosen_and_else_the_start(rows, number):
    found = trials(*rows)
    assert tune.choose(found).number == number
    assert tune.choose(reversed(found)).number == number


def test_a_setting_is_applied_only_where_it_is_not_the_default():
    better, same = trials((0.3, ""), (0.1, "")), trials((0.1, ""), (0.3, ""), method="salun")
    other = trials((0.3, ""), (0.1, ""), method="npo", task="digits-moco-random")
    assert tune.chosen([*better, *same, *other], CLASSIFIER) == {"scrub": {"lr": 0.01}}


def test_a_remark_says_that_nothing_stands_or_that_nothing_is_forgotten():
    original = tune.Trial(CLASSIFIER.name, "original", 0, "{}", gap=0.3)
    assert tune.remark(trials((0.3, ""), (0.1, "")), original) == ""
    assert tune.remark(trials((0.1, ""), (0.2, "")), original) == "start kept"
    assert tune.remark(trials((0.3, ""), (0.29, "")), original) == "next to nothing is forgotten"
    assert tune.remark(trials((0.1, "utility lost")), original) == "start kept, nothing stands: utility lost (1)"


WORLD = World(name=CLASSIFIER.name, noise=0.0)
ORACLE = Method("retrain", shift=0.0, oracle=True)


def tried(*outcomes):
    """Trials of scrub from records: a made-up outcome for each of its settings, `retrain` beside them."""
    candidates = tune.settings("scrub", CLASSIFIER)
    records = [record(WORLD, ORACLE, seed) for seed in tune.ORACLE_SEEDS]
    for settings, (method, seeds) in zip(candidates, outcomes, strict=False):
        params = resolve_method("scrub", tune.with_settings(CLASSIFIER, {"scrub": settings}), "quick")
        for seed in seeds:
            one = record(WORLD, method, seed)
            run = RunSpec(**{**one.run.model_dump(), "params": params})
            records.append(one.model_copy(update={"run": run}))
    found = tune.judged(CLASSIFIER, {"scrub": candidates}, records)
    return [trial for trial in found if trial.method == "scrub"]


def test_the_gate_is_the_reports_own_and_each_setting_is_judged_by_its_own_runs():
    near, far = Method("scrub", shift=0.1, drop=1.5), Method("scrub", shift=0.4, drop=1.5)
    dear, gone = Method("scrub", shift=0.0, drop=9.0), Method("scrub", status="collapsed")
    late, wild = Method("scrub", shift=0.0), Method("scrub", status="diverged")
    found = tried((far, tune.SEEDS), (dear, tune.SEEDS), (near, tune.SEEDS), (late, [100]), (gone, tune.SEEDS))
    assert [trial.out for trial in found] == ["", "utility lost", "", "not done in 60 s", "collapsed"]
    assert found[0].gap > found[2].gap > found[1].gap
    assert found[0].loss < 2 < 6 < found[1].loss
    assert tune.choose(found).number == 2
    (one, *_) = tried((wild, tune.SEEDS))
    assert (one.out, one.gap) == ("diverged", None)


# -- what it left --------------------------------------------------------------------------------------------


def test_a_table_is_read_as_it_was_written(tmp_path: Path):
    found = [
        *trials((0.3, ""), (None, "failed")),
        tune.Trial("t", "original", 0, "{}", 0.25, "+0.1 -0.4", 0.0, "", 3.5),
    ]
    tune.write(tmp_path / "tried.csv", found)
    assert tune.read(tmp_path / "tried.csv") == found


@pytest.mark.parametrize("task", SUITE.tasks, ids=lambda task: task.name)
def test_the_suite_holds_what_was_chosen(task):
    assert task.methods == tune.chosen(tune.read(tune.TRIED), task)


def test_floats_are_written_as_people_write_them():
    assert tune._inline({"lr": 5.8e-05, "epochs": 3, "rate": 250.0, "optimizer": "adam"}) == (
        '{ lr = 5.8e-5, epochs = 3, rate = 250.0, optimizer = "adam" }'
    )
