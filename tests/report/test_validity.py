"""The rules that say what a number may be used for, each with an answer by hand."""

import pytest

from benchmark.report.summary import summarise
from benchmark.report.table import render
from tests.report.factory import Method, Model, World, exact, metric, record, suite

SPREAD = [0.0, 0.01, -0.02, 0.03, 0.04]  # the 95th percentile of their sizes is .038
WORLD = World()
ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True)
TOST = "equal to retraining (TOST)"


def task_of(records):
    (task,) = summarise(records).tasks
    return task


def flags(name, records):
    return task_of(records).row(name).verdict.flags


def spread(name="again", **fields):
    return exact(SPREAD, name, **{"oracle": True, **fields})


# -- admission (V3) ----------------------------------------------------------------------------------------


def test_the_floor_is_the_mean_size_and_its_95th_percentile_over_seeds():
    floor = task_of(spread() + exact([0.1] * 5)).columns["leak"].floor
    assert floor.distance.mean == pytest.approx(0.02)
    assert floor.p95 == pytest.approx(0.038)


def test_where_originals_are_no_further_from_retraining_than_retraining_nobody_is_ranked():
    wild = exact([0.0, 0.5, -0.5, 0.5, 0.0], "again", oracle=True)
    records = wild + exact([0.1] * 5, "zeta") + exact([0.3] * 5, "alpha")
    task = task_of(records)
    assert task.demonstration.startswith("the original models are not clearly further from the retrained ones")
    assert task.sorted_by is None
    assert [row.name for row in task.rows] == ["original", "retrained", "again", "alpha", "zeta"]
    assert not any(cell.best for row in task.rows for cell in row.cells.values())
    assert not any(row.verdict.ranked or row.verdict.score for row in task.rows)
    text = render(summarise(records)).markdown
    assert "- Demonstration only: the original models are not clearly further" in text
    assert "leak AUC: at least .400 against up to .500" in text
    assert "**" not in text


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (suite(WORLD, [Method("m")]), "no exact retraining ran on it with success"),
        (suite(WORLD, [Method("m"), ORACLE], [3]), "one seed cannot tell"),
        (suite(World(original=Model(0.0, 0.93)), [Method("m"), ORACLE]), "does not find the forget set"),
        (suite(World(attacks=()), [Method("m"), ORACLE]), "no attack on the forget set was run"),
    ],
    ids=["no floor", "one seed", "blind", "no attack"],
)
def test_every_other_reason_for_ranking_nobody_is_one_sentence(records, reason):
    task = task_of(records)
    assert reason in task.demonstration
    assert f"- Demonstration only: {task.demonstration}. Nobody is ranked" in render(summarise(records)).markdown


def test_an_admitted_task_says_nothing_of_demonstrations():
    assert task_of(spread() + exact([0.1] * 5)).demonstration is None


# -- band (V4) ---------------------------------------------------------------------------------------------


def test_a_gap_within_the_floor_is_marked_and_one_beyond_it_is_not():
    records = spread() + exact([0.037] * 5, "near") + exact([0.039] * 5, "far")
    task = task_of(records)
    assert {row.name: row.cells["leak"].in_band for row in task.rows} == {
        "original": False, "retrained": False, "again": False, "near": True, "far": False,
    }  # fmt: skip
    text = render(summarise(records)).markdown
    assert "| **.037°** |" in text and "| .039 |" in text
    assert r"| \[.020, .038\] |" in text
    assert "°: a gap within the floor, not distinguished from retraining." in text


# -- utility (2.1) -----------------------------------------------------------------------------------------


def test_who_loses_more_than_retraining_by_a_point_and_the_floor_is_not_ranked():
    records = suite(WORLD, [ORACLE, Method("ruin", shift=0.0, drop=12), Method("fine", drop=1.5), Method("best")])
    task = task_of(records)
    assert task.row("ruin").verdict.flags == {"utility lost": ""}
    assert task.row("fine").verdict.flags == {}
    assert [row.name for row in task.rows][-1] == "ruin"
    assert not task.row("ruin").verdict.ranked
    assert task.row("ruin").cells["leak_a"].best is False
    assert "Utility lost: more is lost than by retraining" in render(summarise(records)).markdown


def test_another_utility_metric_than_the_first_is_named():
    def run(method, seed, second):
        values = {"a": metric(0.6, 0.9, 0.5), "u": metric(1.0, 0.0, 1.0, goal="min", role="utility", unit="points")}
        values["v"] = metric(second, 0.0, 1.0, goal="min", role="utility", unit="points", label="other drop (points)")
        return record(WORLD, method, seed, metrics=values, curves={})

    records = [run(ORACLE, s, 1.0) for s in range(3)] + [run(Method("m"), s, 9.0) for s in range(3)]
    assert flags("m", records) == {"utility lost": "other drop"}
    assert task_of(records).row("m").remarks == ["utility lost (other drop)"]


@pytest.mark.parametrize(("goal", "lost"), [("max", 0.85), ("min", 0.95)])
def test_utility_that_is_to_be_large_is_lost_downwards(goal, lost):
    def run(method, seed, value):
        utility = metric(value, 0.9, 0.9, goal=goal, role="utility", unit="fraction", attack=False)
        return record(WORLD, method, seed, metrics={"a": metric(0.6, 0.9, 0.5), "u": utility}, curves={})

    records = [run(ORACLE, s, 0.9) for s in range(3)]
    records += [run(Method("bad"), s, lost) for s in range(3)] + [run(Method("good"), s, 1.8 - lost) for s in range(3)]
    assert flags("bad", records) == {"utility lost": ""}
    assert flags("good", records) == {}


def test_where_retraining_gains_doing_nothing_loses_nothing():
    world = World(retrained=Model(0.0, 0.97))
    assert "utility lost" not in flags("idle", suite(world, [ORACLE, Method("idle", status="no_change")]))


# -- over-forgetting (V5) ----------------------------------------------------------------------------------


def test_an_attack_that_falls_below_the_retrained_value_is_flagged():
    records = spread() + exact([-0.2, -0.21, -0.2, -0.19, -0.2], "over") + exact([0.2] * 5, "under")
    records += exact([-0.03] * 5, "within") + exact([-0.9, 0.3, -0.9, 0.3, 0.3], "noisy")
    assert flags("over", records) == {"over-forgets": ""}
    assert [flags(name, records) for name in ("under", "within", "noisy")] == [{}, {TOST: ""}, {}]
    assert "Over-forgets: the attack falls below the retrained value" in render(summarise(records)).markdown


def test_a_model_of_shuffled_labels_is_flagged_twice_and_not_ranked():
    shuffled = Method("shuffled", shift=-1.0, drop=80)
    task = task_of(suite(WORLD, [ORACLE, shuffled, Method("fine")]))
    assert task.row("shuffled").verdict.flags.keys() == {"utility lost", "over-forgets"}
    assert not task.row("shuffled").verdict.ranked


# -- equivalence -------------------------------------------------------------------------------------------


def test_equal_to_retraining_is_said_on_success_of_the_test_alone():
    records = spread() + exact([0.01, -0.01, 0.0, 0.01, -0.01], "equal") + exact([0.2, -0.2, 0.1, -0.1, 0], "unsure")
    records += exact([0.037] * 4 + [0.045], "edge")
    assert flags("equal", records) == {TOST: ""}
    assert flags("unsure", records) == {}, "not significantly different is not equal"
    assert flags("edge", records) == {}
    assert task_of(records).row("equal").remarks == [TOST]


def test_equal_in_one_column_and_not_in_another_is_not_equal():
    def run(method, seed, value, retain):
        values = {"a": metric(value, 0.9, 0.5), "b": metric(retain, 0.9, 0.9, role="retain_privacy", attack=False)}
        return record(WORLD, method, seed, metrics=values, curves={})

    gaps = enumerate(SPREAD)
    records = [run(ORACLE, s, 0.5 + gap, 0.9 + gap) for s, gap in gaps]
    records += [run(Method("true"), s, 0.5, 0.9) for s in range(5)]
    records += [run(Method("flat"), s, 0.5, 0.6) for s in range(5)]
    assert flags("true", records) == {TOST: ""}
    assert flags("flat", records) == {}


def test_nobody_equals_retraining_where_doing_nothing_would():
    world = World(original=Model(0.02, 0.93))
    task = task_of(suite(world, [ORACLE, Method("idle", status="no_change"), Method("m", shift=0.0)]))
    assert task.demonstration is not None
    assert not any(TOST in row.verdict.flags for row in task.rows)


# -- notes and gaps in the records -------------------------------------------------------------------------


def test_a_noted_number_is_marked_and_ranks_nobody():
    def run(method, seed, note):
        values = {"a": metric(0.6, 0.9, 0.5), "b": metric(0.55, 0.9, 0.5, note=note, label="strict", attack=False)}
        return record(WORLD, method, seed, metrics=values, curves={})

    note = "too few non-members"
    records = [run(m, s, note) for m in (ORACLE, Method("x"), Method("y")) for s in range(5)]
    task = task_of(records)
    assert task.row("x").verdict.ranked
    assert not task.row("x").cells["b"].best
    text = render(summarise(records)).markdown
    assert "| .550‡ |" in text
    assert "‡: not ranked, too few non-members (strict)." in text
    alone = [r.model_copy(update={"metrics": {"b": r.metrics["b"]}}) for r in records]
    assert not any(row.verdict.ranked for row in task_of(alone).rows)


def test_a_metric_that_a_record_lacks_prints_not_available():
    records = suite(WORLD, [ORACLE, Method("full")])
    records += [r.model_copy(update={"metrics": {"leak_a": r.metrics["leak_a"]}}) for r in suite(WORLD, [Method("m")])]
    text = render(summarise(records)).markdown
    assert next(line for line in text.splitlines() if line.startswith("| m ")).count("n/a") == 4
    assert "n/a: not measured there." in text
